// The guest's side of the bridge: namespaces, calls, deliveries, timers, the end of the program.
//
// An answer is text: records that end in RS, fields parted by US. JSON text and operation names never contain
// those characters (JSON escapes them, names are checked), so nothing a program writes can forge a record.
//   C seq operation json | L level json | D count (issued before a delivery) | T id due_ms | F ok json
const RS = '\x1e', US = '\x1f';
const SEGMENT = /^[A-Za-z_$][A-Za-z0-9_$]*$/;
const ASYNC_HINT = 'a Promise was given where plain data is needed: is an `await` missing?';

let out = '';
let issued = 0, inFlight = 0;
let finished = '';
let limits = { calls: 1, calls_in_flight: 1, value_bytes: 1, timers: 1, log_bytes: 1 };
// By sequence; a settled call leaves `undefined`. (A Map would cost more than the rest of a call.)
const pending = bareList();
pending[0] = undefined;
const namespaceNames = new NativeMap();

class OperationError extends NativeError {
  constructor(operation, given) {
    super(given.message);
    this.code = given.code;
    this.operation = operation;
    for (const name of objectKeys(given)) {
      if (name !== 'code' && name !== 'message' && name !== 'operation' && name !== '__proto__' && name !== 'stack') {
        this[name] = given[name];
      }
    }
  }
}
defineProperty(OperationError.prototype, 'name', { value: 'OperationError', writable: true, configurable: true });

const refused = (operation, code, message, details) => new OperationError(operation, { code, message, details });

// ---- values out ------------------------------------------------------------------------------------------
// JSON.stringify with a replacer that makes what JSON would lose or mangle visible: an error for arguments
// (`strict`), a documented reading for results.
const describePath = (key) => (key === '' ? 'the value' : `the value at ${toJson(key)}`);
const plainMap = (map, strict, key) => {
  const plain = objectCreate(null);
  mapEach(map, (value, name) => {
    if (typeof name !== 'string' && typeof name !== 'number') {
      throw new NativeTypeError(`${describePath(key)} is a Map with keys that are not strings: use Object.fromEntries or an array`);
    }
    plain[name] = value;
  });
  return plain;
};
const plainSet = (set) => {
  const plain = [];
  let size = 0;
  setEach(set, (value) => { defineProperty(plain, size++, { value, enumerable: true, writable: true, configurable: true }); });
  return plain;
};
const plainTyped = (array) => {
  const plain = [], size = typedLength(array);
  for (let i = 0; i < size; i++) defineProperty(plain, i, { value: array[i], enumerable: true, writable: true, configurable: true });
  return plain;
};
const plainError = (error) => {
  const plain = { name: NativeString(error.name), message: NativeString(error.message) };
  for (const name of objectKeys(error)) if (name !== 'stack') plain[name] = error[name];
  return plain;
};
const plainObject = (value, strict, key) => {
  if (value instanceof NativeMap) return plainMap(value, strict, key);
  if (value instanceof NativeSet) return plainSet(value);
  if (value instanceof NativePromise) throw new NativeTypeError(`${describePath(key)}: ${ASYNC_HINT}`);
  if (value instanceof NativeError) return plainError(value);
  if (value instanceof NativeRegExp) return NativeString(value);
  if (value instanceof TypedArray) return plainTyped(value);
  if (value instanceof ArrayBuffer) return plainTyped(new ByteView(value));
  return value;
};
const replacer = (strict) => function (key, value) {
  switch (typeof value) {
    case 'string': case 'boolean': case 'undefined': return value;
    case 'object': {
      if (value === null || isArray(value)) return value;
      const base = getPrototypeOf(value);
      return base === objectPrototype || base === null ? value : plainObject(value, strict, key);
    }
    case 'number':
      if (finite(value)) return value;
      if (strict) throw new NativeTypeError(`${describePath(key)} is ${value}, which JSON cannot carry`);
      return NativeString(value);
    case 'bigint':
      if (strict) throw new NativeTypeError(`${describePath(key)} is a BigInt: pass Number(x) or String(x)`);
      return NativeString(value);
    case 'symbol': throw new NativeTypeError(`${describePath(key)} is a symbol, which JSON cannot carry`);
    default:
      if (mapHas(namespaceNames, value)) throw new NativeTypeError(`${describePath(key)} is the capability ${mapGet(namespaceNames, value)}: call an operation of it`);
      if (strict) throw new NativeTypeError(`${describePath(key)} is a function: only plain data can be passed`);
      return undefined;
  }
};
const objectPrototype = NativeObject.prototype;
const forArguments = replacer(true), forResult = replacer(false);

// ---- calls ---------------------------------------------------------------------------------------------------
const argumentsText = (operation, given) => {
  if (given.length === 0) return '{}';
  const value = given[0];
  if (given.length > 1 || typeof value !== 'object' || value === null || isArray(value)) {
    if (given.length === 1 && value === undefined) return '{}';
    throw new NativeTypeError(`${operation} takes one object with named parameters, for example ${operation}({ name: value })`);
  }
  const text = toJson(value, forArguments);
  if (typeof text !== 'string' || text[0] !== '{') {
    throw new NativeTypeError(`${operation} takes one object with named parameters; the given one turned into ${typeof text === 'string' ? slice(text, 0, 40) : text}`);
  }
  if (text.length > limits.value_bytes) {
    throw refused(operation, 'limit_exceeded', `the arguments of ${operation} are larger than the limit value_bytes = ${limits.value_bytes}`,
      { limit: 'value_bytes', value: limits.value_bytes, unit: 'bytes' });
  }
  return text;
};
const checkCounts = (operation) => {
  if (issued >= limits.calls) {
    throw refused(operation, 'limit_exceeded', `this run has made its limit of ${limits.calls} calls`, { limit: 'calls', value: limits.calls, unit: 'calls' });
  }
  if (inFlight >= limits.calls_in_flight) {
    throw refused(operation, 'limit_exceeded', `${limits.calls_in_flight} calls are in flight, the limit: await some before making more`,
      { limit: 'calls_in_flight', value: limits.calls_in_flight, unit: 'calls' });
  }
};
// The arguments become text before the sequence is taken: a getter that calls another operation meanwhile is a
// call of its own, before this one.
const capability = NativePromise.withResolvers.bind(NativePromise);
const CALL = 'C' + US;
const issue = (operation, head, given) => {
  const call = capability();
  try {
    const text = argumentsText(operation, given);
    checkCounts(operation);
    call.operation = operation;
    issued += 1;
    inFlight += 1;
    out += CALL + issued + head + text + RS;
    pending[issued] = call;
  } catch (error) {
    const { reject } = call;
    reject(error);
  }
  return call.promise;
};

// ---- namespaces ------------------------------------------------------------------------------------------------
const HIDDEN = objectCreate(null);
for (const name of ['then', 'catch', 'finally', 'toJSON', 'constructor', 'prototype', '__proto__', 'valueOf', 'caller', 'callee',
  'arguments', '__defineGetter__', '__defineSetter__', '__lookupGetter__', '__lookupSetter__']) HIDDEN[name] = true;
const readOnly = (path) => { throw new NativeTypeError(`the capability ${path} cannot be changed`); };
const namespace = (path) => {
  const children = objectCreate(null);
  const words = () => `[capability ${path}]`, head = US + path + US;
  const proxy = new NativeProxy(() => {}, {
    get(_target, key) {
      if (typeof key === 'symbol') return key === Symbol.toPrimitive ? words : undefined;
      if (key === 'toString') return words;
      if (HIDDEN[key]) return undefined;
      const known = children[key];
      if (known !== undefined) return known;
      if (matches(SEGMENT, key) === null) throw new NativeTypeError(`${path} has no operation ${toJson(slice(key, 0, 80))}`);
      return (children[key] = namespace(path + '.' + key));
    },
    apply(_target, _self, given) { return issue(path, head, given); },
    has(_target, key) { return typeof key === 'string' && !HIDDEN[key]; },
    ownKeys() { return []; },
    getOwnPropertyDescriptor() { return undefined; },
    getPrototypeOf() { return null; },
    setPrototypeOf() { return readOnly(path); },
    set() { return readOnly(path); },
    defineProperty() { return readOnly(path); },
    deleteProperty() { return readOnly(path); },
    preventExtensions() { return readOnly(path); },
  });
  mapSet(namespaceNames, proxy, path);
  return proxy;
};

// ---- timers, on the clock of the deliveries -------------------------------------------------------------------------
const timers = new NativeMap();
let timerCount = 0, earliest = null, earliestKnown = true;
const sooner = (a, b) => (a.due < b.due || (a.due === b.due && a.id < b.id) ? a : b);
const addTimer = (callback, delay, given, every) => {
  if (typeof callback !== 'function') throw new NativeTypeError('a timer takes a function');
  if (sizeOfMap(timers) >= limits.timers) throw refused('setTimeout', 'limit_exceeded', `${limits.timers} timers are pending, the limit`, { limit: 'timers', value: limits.timers, unit: 'timers' });
  const wait = max(1, min(2147483647, floor(NativeNumber(delay)) || 0));
  const timer = { id: ++timerCount, due: dateNow() + wait, callback, given, every: every ? wait : 0 };
  mapSet(timers, timer.id, timer);
  if (earliestKnown) earliest = earliest === null ? timer : sooner(earliest, timer);
  return timer.id;
};
const dropTimer = (id) => {
  id = NativeNumber(id);
  if (!mapDelete(timers, id)) return;
  if (earliest !== null && earliest.id === id) { earliest = null; earliestKnown = false; }
};
const earliestTimer = () => {
  if (!earliestKnown) {
    earliest = null;
    mapEach(timers, (timer) => { earliest = earliest === null ? timer : sooner(earliest, timer); });
    earliestKnown = true;
  }
  return earliest;
};
const fireTimer = (id) => {
  const timer = mapGet(timers, id);
  if (timer === undefined) return;
  dropTimer(id);
  if (timer.every) {
    timer.due = dateNow() + timer.every;
    mapSet(timers, timer.id, timer);
    earliestKnown = false;
  }
  try { apply(timer.callback, undefined, timer.given); } catch (error) { failWith(error); }
};
expose({
  setTimeout(callback, delay, ...given) { return addTimer(callback, delay, given, false); },
  setInterval(callback, delay, ...given) { return addTimer(callback, delay, given, true); },
  setImmediate(callback, ...given) { return addTimer(callback, 0, given, false); },
  clearTimeout: dropTimer, clearInterval: dropTimer, clearImmediate: dropTimer,
});

// ---- the end --------------------------------------------------------------------------------------------------------
const MESSAGE_LENGTH = 8192, STACK_LENGTH = 4096, DETAILS_LENGTH = 2048;
const textOf = (value) => { try { return NativeString(value); } catch { return '[no text]'; } };
const cut = (text, length) => (text.length > length ? slice(text, 0, length) + ' …' : text);
const isOutOfMemory = (error) => error instanceof InternalErrorType && error.message === 'out of memory';
const InternalErrorType = globalThis.InternalError, NativeSyntaxError = SyntaxError;
const errorFields = (error) => {
  const fields = objectCreate(null);
  if (!(error instanceof NativeError)) {
    fields.name = 'Error';
    fields.message = cut(typeof error === 'string' ? error : inspect(error), MESSAGE_LENGTH);
    return fields;
  }
  fields.name = cut(textOf(error.name), 200);
  fields.message = cut(textOf(error.message), MESSAGE_LENGTH);
  const stack = error.stack;
  if (typeof stack === 'string' && stack !== '') fields.stack = cut(stack, STACK_LENGTH);
  if (typeof error.code === 'string') fields.code = cut(error.code, 200);
  if (error instanceof OperationError) {
    fields.operation = cut(textOf(error.operation), 400);
    if (typeof error.fix === 'string') fields.fix = cut(error.fix, 400);
    try {
      const details = toJson(error.details);   // once, since what a program put there may answer anew each time
      if (typeof details === 'string' && details !== '{}') fields.details = details.length > DETAILS_LENGTH ? cut(details, DETAILS_LENGTH) : parseJson(details);
    } catch { /* details that cannot be read are left out: the message counts */ }
  }
  if (isOutOfMemory(error)) fields.code = 'out_of_memory';
  if (error instanceof NativeSyntaxError) {
    const place = typeof stack === 'string' ? matches(PLACE, stack) : null;
    if (place) { fields.line = +place[1]; fields.column = +place[2]; }
  }
  return fields;
};
const PLACE = /program\.ts:(\d+):(\d+)/;
const end = (ok, text) => { if (finished === '') finished = 'F' + US + (ok ? 1 : 0) + US + text + RS; };
const failWith = (error) => {
  let fields;
  try { fields = toJson(errorFields(error)); } catch { fields = '{"name":"Error","message":"the program threw a value that cannot be read"}'; }
  end(false, fields);
};
const succeedWith = (value) => {
  let text;
  try {
    text = toJson(value, forResult);
    if (text === undefined) text = 'null';
  } catch (error) { failWith(error); return; }
  end(true, text);
};

// ---- what the host calls ------------------------------------------------------------------------------------------------
let batch = null, cursor = 0;
const SETTLED = 'D' + US;
const hooks = {
  boot(text) {
    const given = parseJson(text);
    limits = given.limits;
    seedRandom(given.seed[0], given.seed[1], given.seed[2], given.seed[3]);
    startClock();
    for (let i = 0; i < given.names.length; i++) {
      defineProperty(globalThis, given.names[i], { value: namespace(given.names[i]), writable: true, configurable: true, enumerable: false });
    }
    defineProperty(globalThis, 'input', { value: given.input, writable: true, configurable: true, enumerable: false });
  },
  run(program) {
    thenOf(apply(program, undefined, []), succeedWith, failWith);
  },
  fail: failWith,
  turn(text) {
    batch = parseJson(text);
    cursor = 0;
    return batch.length / 3;
  },
  // One delivery: [kind, id, value]. The queue is drained before the next one.
  step() {
    const kind = batch[cursor], id = batch[cursor + 1], value = batch[cursor + 2];
    cursor += 3;
    if (cursor >= batch.length) batch = null;
    out += SETTLED + issued + RS;
    if (kind === 2) { fireTimer(id); return; }
    const call = pending[id];
    if (call === undefined) return;
    pending[id] = undefined;
    inFlight -= 1;
    if (kind === 0) { const resolve = call.resolve; resolve(value); } else { const reject = call.reject; reject(new OperationError(call.operation, value)); }
  },
  finish() {
    let text = out;
    out = '';
    if (finished !== '') return text + finished;
    const timer = sizeOfMap(timers) === 0 ? null : earliestTimer();
    return timer === null ? text : text + 'T' + US + timer.id + US + timer.due + RS;
  },
};
globalThis.__inhabit_hooks = hooks;
