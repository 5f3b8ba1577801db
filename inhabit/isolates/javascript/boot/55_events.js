// Event, EventTarget, AbortController, AbortSignal: enough for cancellation among a program's own promises.
class Event {
  #stopped = false;
  constructor(type, options = {}) {
    this.type = NativeString(type);
    this.cancelable = !!options.cancelable;
    this.bubbles = !!options.bubbles;
    this.defaultPrevented = false;
    this.target = this.currentTarget = null;
    this.timeStamp = dateNow() - clockStart;
  }
  preventDefault() { if (this.cancelable) this.defaultPrevented = true; }
  stopPropagation() {}
  stopImmediatePropagation() { this.#stopped = true; }
  static isStopped(event) { return event.#stopped; }
}
const { isStopped } = Event;
delete Event.isStopped;
class CustomEvent extends Event {
  constructor(type, options = {}) { super(type, options); this.detail = options.detail ?? null; }
}
class EventTarget {
  #listeners = new NativeSet();
  addEventListener(type, callback, options) {
    if (callback === null || callback === undefined) return;
    const once = typeof options === 'object' && options !== null && !!options.once;
    let known = false;
    setEach(this.#listeners, (entry) => { if (entry.type === type && entry.callback === callback) known = true; });
    if (!known) setAdd(this.#listeners, { type: NativeString(type), callback, once });
  }
  removeEventListener(type, callback) {
    setEach(this.#listeners, (entry) => { if (entry.type === type && entry.callback === callback) setDelete(this.#listeners, entry); });
  }
  dispatchEvent(event) {
    event.target = event.currentTarget = this;
    setEach(new NativeSet(this.#listeners), (entry) => {
      if (entry.type !== event.type || isStopped(event)) return;
      if (entry.once) setDelete(this.#listeners, entry);
      if (typeof entry.callback === 'function') apply(entry.callback, this, [event]);
      else entry.callback.handleEvent(event);
    });
    return !event.defaultPrevented;
  }
}
const setDelete = uncurried(Set.prototype.delete);

const PASS = {};
class AbortSignal extends EventTarget {
  #aborted = false; #reason = undefined;
  constructor(pass) {
    super();
    if (pass !== PASS) throw new NativeTypeError('make an AbortController and use its signal');
    this.onabort = null;
  }
  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  throwIfAborted() { if (this.#aborted) throw this.#reason; }
  static abort(reason) { const signal = new AbortSignal(PASS); abortSignal(signal, reason); return signal; }
  static timeout(delay) {
    const signal = new AbortSignal(PASS);
    addTimer(() => abortSignal(signal, new NativeDOMException('the operation timed out', 'TimeoutError')), delay, [], false);
    return signal;
  }
  static any(signals) {
    const joined = new AbortSignal(PASS);
    for (const signal of signals) {
      if (signal.aborted) { abortSignal(joined, signal.reason); break; }
      signal.addEventListener('abort', () => abortSignal(joined, signal.reason), { once: true });
    }
    return joined;
  }
  static fire(signal, reason) {
    if (signal.#aborted) return;
    signal.#aborted = true;
    signal.#reason = reason === undefined ? new NativeDOMException('the operation was aborted', 'AbortError') : reason;
    const event = new Event('abort');
    if (typeof signal.onabort === 'function') apply(signal.onabort, signal, [event]);
    signal.dispatchEvent(event);
  }
}
const abortSignal = AbortSignal.fire;
delete AbortSignal.fire;
class AbortController {
  #signal = new AbortSignal(PASS);
  get signal() { return this.#signal; }
  abort(reason) { abortSignal(this.#signal, reason); }
}
expose({ Event, CustomEvent, EventTarget, AbortSignal, AbortController });
