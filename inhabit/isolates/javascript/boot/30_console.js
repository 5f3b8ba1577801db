// `console`, and the one way values become readable text (`inspect`). Output is bounded here for the program's
// sake and again by the host.
const LINE_LENGTH = 16384, INSPECT_DEPTH = 4, INSPECT_ITEMS = 100, INSPECT_LENGTH = 65536;
let logged = 0, logClosed = false;

const quote = (text) => toJson(wellFormed(text));
const classOf = (value) => {
  const base = getPrototypeOf(value);
  if (base === null) return '[Object: null prototype]';
  const made = getOwnPropertyDescriptor(base, 'constructor');
  const name = made && typeof made.value === 'function' && getOwnPropertyDescriptor(made.value, 'name');
  return name && typeof name.value === 'string' ? name.value : '';
};
const inspectError = (error) => {
  const head = `${error.name}: ${error.message}`;
  return typeof error.stack === 'string' && error.stack !== '' ? head + '\n' + error.stack : head;
};
const inspectList = (open, size, item, close, budget) => {
  let text = open;
  for (let i = 0; i < size && i < INSPECT_ITEMS && text.length < budget; i++) text += (i ? ', ' : ' ') + item(i);
  if (size > INSPECT_ITEMS) text += `, … ${size - INSPECT_ITEMS} more`;
  return text + (size ? ' ' : '') + close;
};
const inspectEntries = (value, open, depth, seen, budget) => {
  const names = ownKeys(value);
  const shown = bareList();
  let count = 0;
  for (let i = 0; i < names.length; i++) {
    const found = getOwnPropertyDescriptor(value, names[i]);
    if (found && found.enumerable) shown[count++] = names[i];
  }
  return inspectList(open + '{', count, (i) => {
    const found = getOwnPropertyDescriptor(value, shown[i]);
    const name = typeof shown[i] === 'symbol' ? `[${NativeString(shown[i])}]` : matches(SEGMENT, shown[i]) ? shown[i] : quote(shown[i]);
    return name + ': ' + (found && 'value' in found ? inspectAt(found.value, depth + 1, seen, budget) : '[Getter]');
  }, '}', budget);
};
const inspectCollection = (value, depth, seen, budget) => {
  const parts = bareList();
  let size = 0;
  const show = (item) => inspectAt(item, depth + 1, seen, budget);
  if (value instanceof NativeMap) {
    mapEach(value, (item, key) => { if (size < INSPECT_ITEMS) parts[size] = show(key) + ' => ' + show(item); size++; });
    return inspectList(`Map(${size}) {`, size, (i) => parts[i], '}', budget);
  }
  setEach(value, (item) => { if (size < INSPECT_ITEMS) parts[size] = show(item); size++; });
  return inspectList(`Set(${size}) {`, size, (i) => parts[i], '}', budget);
};
const inspectObject = (value, depth, seen, budget) => {
  if (value instanceof NativeError) return inspectError(value);
  if (value instanceof NativeDate) return finite(timeOf(value)) ? toIso(value) : 'Invalid Date';
  if (value instanceof NativeRegExp) return NativeString(value);
  if (value instanceof NativePromise) return 'Promise { … }';
  const name = classOf(value);
  if (depth >= INSPECT_DEPTH) return isArray(value) ? '[Array]' : `[${name || 'Object'}]`;
  if (value instanceof NativeMap || value instanceof NativeSet) return inspectCollection(value, depth, seen, budget);
  if (isArray(value)) return inspectList('[', value.length, (i) => inspectAt(value[i], depth + 1, seen, budget), ']', budget);
  if (value instanceof TypedArray) return inspectList(`${typedTag(value)}(${typedLength(value)}) [`, typedLength(value), (i) => NativeString(value[i]), ']', budget);
  return inspectEntries(value, name && name !== 'Object' ? name + ' ' : '', depth, seen, budget);
};
const inspectAt = (value, depth, seen, budget) => {
  switch (typeof value) {
    case 'string': return depth === 0 ? value : quote(cut(value, LINE_LENGTH));
    case 'bigint': return NativeString(value) + 'n';
    case 'number': return same(value, -0) ? '-0' : NativeString(value);
    case 'symbol': return NativeString(value);
    case 'function': {
      if (mapHas(namespaceNames, value)) return NativeString(value);
      const name = getOwnPropertyDescriptor(value, 'name');
      return name && typeof name.value === 'string' && name.value ? `[Function: ${name.value}]` : '[Function]';
    }
    case 'object': {
      if (value === null) return 'null';
      for (let at = seen; at !== null; at = at.next) if (at.value === value) return '[Circular]';
      return inspectObject(value, depth, { value, next: seen }, budget);
    }
    default: return NativeString(value);
  }
};
const inspect = (value) => { try { return inspectAt(value, 0, null, INSPECT_LENGTH); } catch { return '[a value that cannot be shown]'; } };

const FORMAT = /%[sdifoOjc%]/g;
const formatOne = (kind, value) => {
  if (kind === 'd' || kind === 'f') return NativeString(typeof value === 'object' ? NaN : NativeNumber(value));
  if (kind === 'i') return NativeString(typeof value === 'object' ? NaN : Math.trunc(NativeNumber(value)));
  if (kind === 'j') { try { return toJson(value); } catch { return '[Circular]'; } }
  return kind === 'c' ? '' : inspect(value);
};
const replaceAllIn = uncurried(String.prototype.replace);
const format = (given) => {
  let first = 0, text = '';
  if (given.length > 1 && typeof given[0] === 'string' && indexOf(given[0], '%') >= 0) {
    first = 1;
    text = replaceAllIn(given[0], FORMAT, (mark) => {
      if (mark === '%%') return '%';
      return first < given.length ? formatOne(mark[1], given[first++]) : mark;
    });
  } else if (given.length > 0) { text = inspect(given[0]); first = 1; }
  for (let i = first; i < given.length; i++) text += ' ' + inspect(given[i]);
  return text;
};
let indent = '';
const emit = (level, text) => {
  if (logClosed) return;
  text = cut(wellFormed(indent + text), LINE_LENGTH);
  logged += text.length + 1;
  if (logged > limits.log_bytes) {
    logClosed = true;
    text = `[the log limit log_bytes = ${limits.log_bytes} is reached; later lines are dropped]`;
    level = 'warn';
  }
  out += 'L' + US + level + US + toJson(text) + RS;
};
const counts = new NativeMap(), started = new NativeMap();
const label = (name) => (name === undefined ? 'default' : NativeString(name));
const console = {
  log(...given) { emit('log', format(given)); },
  info(...given) { emit('info', format(given)); },
  warn(...given) { emit('warn', format(given)); },
  error(...given) { emit('error', format(given)); },
  debug(...given) { emit('debug', format(given)); },
  trace(...given) { emit('debug', 'Trace: ' + format(given)); },
  dir(value) { emit('log', inspect(value)); },
  table(value) { emit('log', inspect(value)); },
  assert(condition, ...given) { if (!condition) emit('error', 'Assertion failed' + (given.length ? ': ' + format(given) : '')); },
  group(...given) { if (given.length) emit('log', format(given)); indent = cut(indent + '  ', 40); },
  groupCollapsed(...given) { console.group(...given); },
  groupEnd() { indent = slice(indent, 2); },
  count(name) { const key = label(name), n = (mapGet(counts, key) || 0) + 1; mapSet(counts, key, n); emit('log', `${key}: ${n}`); },
  countReset(name) { mapDelete(counts, label(name)); },
  time(name) { mapSet(started, label(name), dateNow()); },
  timeEnd(name) { const key = label(name); emit('log', `${key}: ${dateNow() - (mapGet(started, key) ?? dateNow())}ms`); mapDelete(started, key); },
  timeLog(name) { const key = label(name); emit('log', `${key}: ${dateNow() - (mapGet(started, key) ?? dateNow())}ms`); },
};
expose({ console });
