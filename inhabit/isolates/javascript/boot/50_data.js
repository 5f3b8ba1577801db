// Bytes and copies: TextEncoder, TextDecoder, structuredClone.
const charCode = uncurried(String.prototype.charCodeAt), fromCodes = String.fromCharCode;
const typedSet = uncurried(TypedArray.prototype.set), typedSlice = uncurried(TypedArray.prototype.slice);
const subarray = uncurried(TypedArray.prototype.subarray);
const dataViewBuffer = uncurried(getOwnPropertyDescriptor(DataView.prototype, 'buffer').get);
const dataViewOffset = uncurried(getOwnPropertyDescriptor(DataView.prototype, 'byteOffset').get);
const dataViewLength = uncurried(getOwnPropertyDescriptor(DataView.prototype, 'byteLength').get);
const NativeArrayBuffer = ArrayBuffer, NativeDataView = DataView;
const bufferSlice = uncurried(ArrayBuffer.prototype.slice), bufferLength = uncurried(getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength').get);
const NativeDOMException = DOMException;

const bytesView = (source) => {
  if (source instanceof NativeArrayBuffer) return new ByteView(source);
  if (source instanceof TypedArray) return new ByteView(bufferOf(source), offsetOf(source), bytesOf(source));
  if (source instanceof NativeDataView) return new ByteView(dataViewBuffer(source), dataViewOffset(source), dataViewLength(source));
  throw new NativeTypeError('expected an ArrayBuffer, a typed array or a DataView');
};
// Writes `text` as UTF-8 into `into` as far as it fits whole characters. Gives [characters read, bytes written].
const writeUtf8 = (text, into) => {
  const room = typedLength(into), size = text.length;
  let read = 0, at = 0;
  while (read < size) {
    let code = charCode(text, read), units = 1;
    if (code >= 0xd800 && code <= 0xdfff) {
      const low = code < 0xdc00 && read + 1 < size ? charCode(text, read + 1) : 0;
      if (low >= 0xdc00 && low <= 0xdfff) { code = ((code - 0xd800) << 10) + (low - 0xdc00) + 0x10000; units = 2; } else code = 0xfffd;
    }
    const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (at + bytes > room) break;
    if (bytes === 1) into[at++] = code;
    else {
      into[at++] = bytes === 2 ? 0xc0 | (code >> 6) : bytes === 3 ? 0xe0 | (code >> 12) : 0xf0 | (code >> 18);
      if (bytes === 4) into[at++] = 0x80 | ((code >> 12) & 63);
      if (bytes >= 3) into[at++] = 0x80 | ((code >> 6) & 63);
      into[at++] = 0x80 | (code & 63);
    }
    read += units;
  }
  return [read, at];
};
class TextEncoder {
  get encoding() { return 'utf-8'; }
  encode(text = '') {
    text = NativeString(text);
    const whole = new ByteView(text.length * 3);
    return typedSlice(whole, 0, writeUtf8(text, whole)[1]);
  }
  encodeInto(text, into) {
    const done = writeUtf8(NativeString(text), into);
    return { read: done[0], written: done[1] };
  }
}

const ENCODINGS = objectCreate(null);
for (const name of ['utf-8', 'utf8', 'unicode-1-1-utf-8']) ENCODINGS[name] = 'utf-8';
for (const name of ['utf-16le', 'utf-16', 'ucs-2']) ENCODINGS[name] = 'utf-16le';
for (const name of ['latin1', 'iso-8859-1', 'ascii', 'us-ascii', 'windows-1252']) ENCODINGS[name] = 'windows-1252';
const HIGH_1252 = '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';
const CHUNK = 4096;
// How many bytes a UTF-8 lead byte announces beyond itself; -1: not a lead byte.
const announced = (byte) => (byte < 0x80 ? 0 : byte >= 0xc2 && byte <= 0xdf ? 1 : byte >= 0xe0 && byte <= 0xef ? 2 : byte >= 0xf0 && byte <= 0xf4 ? 3 : -1);
const lowestSecond = (lead) => (lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80);
const highestSecond = (lead) => (lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf);
// Decodes UTF-8; gives [text, bytes used]. An unfinished character at the end is left unless `last`.
const readUtf8 = (bytes, fatal, last) => {
  const size = typedLength(bytes);
  let text = '', codes = bareList(), count = 0, at = 0;
  const flush = () => { text += apply(fromCodes, undefined, codes); codes = bareList(); count = 0; };
  const bad = () => {
    if (fatal) throw new NativeTypeError('the encoded data is not valid utf-8');
    codes[count++] = 0xfffd;
  };
  while (at < size) {
    const lead = bytes[at], more = announced(lead);
    if (more === 0) { codes[count++] = lead; at++; }
    else if (more < 0) { bad(); at++; }
    else {
      let code = more === 1 ? lead & 31 : more === 2 ? lead & 15 : lead & 7, taken = 1;
      while (taken <= more && at + taken < size) {
        const next = bytes[at + taken];
        if (next < (taken === 1 ? lowestSecond(lead) : 0x80) || next > (taken === 1 ? highestSecond(lead) : 0xbf)) break;
        code = (code << 6) | (next & 63);
        taken++;
      }
      if (taken <= more) {
        if (at + taken >= size && !last) break;
        bad();
        at += taken;
      } else {
        at += taken;
        if (code < 0x10000) codes[count++] = code;
        else { code -= 0x10000; codes[count++] = 0xd800 + (code >> 10); codes[count++] = 0xdc00 + (code & 1023); }
      }
    }
    if (count >= CHUNK) flush();
  }
  flush();
  return [text, at];
};
const readSingles = (bytes) => {
  let text = '';
  for (let i = 0, size = typedLength(bytes); i < size; i++) text += bytes[i] >= 0x80 && bytes[i] < 0xa0 ? HIGH_1252[bytes[i] - 0x80] : fromCodes(bytes[i]);
  return text;
};
const readUtf16 = (bytes) => {
  let text = '';
  for (let i = 0, size = typedLength(bytes); i + 1 < size; i += 2) text += fromCodes(bytes[i] | (bytes[i + 1] << 8));
  return wellFormed(text);
};
const lower = uncurried(String.prototype.toLowerCase), trim = uncurried(String.prototype.trim);
class TextDecoder {
  #encoding; #fatal; #keepBom; #rest = null; #begun = false;
  constructor(label = 'utf-8', options = {}) {
    this.#encoding = ENCODINGS[lower(trim(NativeString(label)))];
    if (this.#encoding === undefined) throw new NativeRangeError(`TextDecoder knows utf-8, utf-16le and windows-1252, not ${label}`);
    this.#fatal = !!options.fatal;
    this.#keepBom = !!options.ignoreBOM;
  }
  get encoding() { return this.#encoding; }
  get fatal() { return this.#fatal; }
  get ignoreBOM() { return this.#keepBom; }
  decode(source, options) {
    let bytes = source === undefined ? new ByteView(0) : bytesView(source);
    const last = !(options && options.stream);
    if (this.#rest !== null) {
      const joined = new ByteView(typedLength(this.#rest) + typedLength(bytes));
      typedSet(joined, this.#rest);
      typedSet(joined, bytes, typedLength(this.#rest));
      bytes = joined;
      this.#rest = null;
    }
    let text;
    if (this.#encoding === 'utf-8') {
      const done = readUtf8(bytes, this.#fatal, last);
      text = done[0];
      if (!last && done[1] < typedLength(bytes)) this.#rest = typedSlice(bytes, done[1]);
    } else text = this.#encoding === 'utf-16le' ? readUtf16(bytes) : readSingles(bytes);
    if (!this.#begun && !this.#keepBom && text[0] === '\ufeff') text = slice(text, 1);
    this.#begun = !last && (this.#begun || text !== '');
    return text;
  }
}

const uncloneable = (what) => new NativeDOMException(`${what} could not be cloned`, 'DataCloneError');
const cloneInto = (copy, value, seen) => {
  const names = objectKeys(value);
  for (let i = 0; i < names.length; i++) copy[names[i]] = cloneOf(value[names[i]], seen);
  return copy;
};
const cloneError = (value, seen) => {
  const copy = new NativeError(value.message);
  if (value.name !== 'Error') copy.name = NativeString(value.name);
  return cloneInto(copy, value, seen);
};
const cloneView = (value, seen) => {
  const buffer = cloneOf(value instanceof NativeDataView ? dataViewBuffer(value) : bufferOf(value), seen);
  if (value instanceof NativeDataView) return new NativeDataView(buffer, dataViewOffset(value), dataViewLength(value));
  const Type = globalThis[typedTag(value)];
  return new Type(buffer, offsetOf(value), typedLength(value));
};
const cloneObject = (value, seen) => {
  const keep = (copy) => { mapSet(seen, value, copy); return copy; };
  if (value instanceof NativeDate) return keep(new NativeDate(timeOf(value)));
  if (value instanceof NativeRegExp) return keep(new NativeRegExp(value.source, value.flags));
  if (value instanceof NativeArrayBuffer) return keep(bufferSlice(value, 0, bufferLength(value)));
  if (value instanceof TypedArray || value instanceof NativeDataView) return keep(cloneView(value, seen));
  if (value instanceof NativeError) return keep(cloneError(value, seen));
  if (value instanceof NativePromise) throw uncloneable('a Promise');
  if (value instanceof NativeMap) {
    const copy = keep(new NativeMap());
    mapEach(value, (item, key) => mapSet(copy, cloneOf(key, seen), cloneOf(item, seen)));
    return copy;
  }
  if (value instanceof NativeSet) {
    const copy = keep(new NativeSet());
    setEach(value, (item) => setAdd(copy, cloneOf(item, seen)));
    return copy;
  }
  return cloneInto(keep(isArray(value) ? new NativeArray(value.length) : {}), value, seen);
};
const setAdd = uncurried(Set.prototype.add), NativeArray = Array;
const cloneOf = (value, seen) => {
  if (typeof value === 'function' || typeof value === 'symbol') throw uncloneable(typeof value === 'symbol' ? 'a symbol' : 'a function');
  if (typeof value !== 'object' || value === null) return value;
  return mapHas(seen, value) ? mapGet(seen, value) : cloneObject(value, seen);
};
expose({ TextEncoder, TextDecoder, structuredClone(value) { return cloneOf(value, new NativeMap()); } });
