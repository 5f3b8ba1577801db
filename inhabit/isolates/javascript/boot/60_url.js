// URL and URLSearchParams after the WHATWG URL standard, for the schemes programs meet. Left out on purpose: IDN
// mapping beyond lower case and Punycode, and the legacy spellings of IPv4 (`0x7f.1`), which are refused: a host that
// two readers could take for two places is no host.
const replaceIn = uncurried(String.prototype.replace), splitAt = uncurried(String.prototype.split);
const lastIndexOf = uncurried(String.prototype.lastIndexOf), joinOf = uncurried(Array.prototype.join);
const popOf = uncurried(Array.prototype.pop), pushOf = uncurried(Array.prototype.push), spliceOf = uncurried(Array.prototype.splice);
const testOf = uncurried(RegExp.prototype.test), encodePart = encodeURIComponent, decodePart = decodeURIComponent;
const sortOf = uncurried(Array.prototype.sort), normalizeOf = uncurried(String.prototype.normalize);
const codePoint = uncurried(String.prototype.codePointAt);
const DEFAULT_PORT = objectCreate(null);
DEFAULT_PORT['http:'] = '80'; DEFAULT_PORT['https:'] = '443'; DEFAULT_PORT['ws:'] = '80'; DEFAULT_PORT['wss:'] = '443'; DEFAULT_PORT['ftp:'] = '21'; DEFAULT_PORT['file:'] = '';
const IN_PATH = /[^!$%&'()*+,\-./0-9:;=@A-Z[\\\]_a-z|~]/gu, IN_OPAQUE = /[^\x20-\x7e]/gu, IN_QUERY = /[^!$%&()*+,\-./0-9:;=?@A-Z[\\\]^_`a-z{|}~]/gu;
const IN_FRAGMENT = /[^!#$%&'()*+,\-./0-9:;=?@A-Z[\\\]^_a-z{|}~]/gu, IN_USER = /[^!$%&'()*+,\-.0-9A-Z_a-z~]/gu;
const percent = (character) => encodePart(wellFormed(character));
const encodeOutside = (text, set) => replaceIn(text, set, (c) => (testOf(KEPT_BY_ENCODE, c) ? '%' + HEX_UPPER[charCode(c, 0) >> 4] + HEX_UPPER[charCode(c, 0) & 15] : percent(c)));
const KEPT_BY_ENCODE = /^[!'()*~\-_.A-Za-z0-9]$/, HEX_UPPER = '0123456789ABCDEF';
const invalidUrl = (text) => new NativeTypeError(`Invalid URL: ${toJson(cut(text, 200))}`);

// Punycode (RFC 3492), encoding only.
const adapt = (delta, count, first) => {
  let k = 0;
  delta = first ? floor(delta / 700) : delta >> 1;
  for (delta += floor(delta / count); delta > 455; k += 36) delta = floor(delta / 35);
  return k + floor((36 * delta) / (delta + 38));
};
const digit = (value) => fromCodes(value + (value < 26 ? 97 : 22));
const punycode = (label) => {
  const points = [];
  for (let i = 0; i < label.length; i++) { const point = codePoint(label, i); points[points.length] = point; if (point > 0xffff) i++; }
  let text = '';
  for (let i = 0; i < points.length; i++) if (points[i] < 128) text += fromCodes(points[i]);
  const basic = text.length;
  let handled = basic, n = 128, delta = 0, bias = 72;
  if (basic) text += '-';
  while (handled < points.length) {
    let next = 0x7fffffff;
    for (let i = 0; i < points.length; i++) if (points[i] >= n && points[i] < next) next = points[i];
    delta += (next - n) * (handled + 1);
    n = next;
    for (let i = 0; i < points.length; i++) {
      if (points[i] < n) delta++;
      if (points[i] !== n) continue;
      let q = delta;
      for (let k = 36; ; k += 36) {
        const t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
        if (q < t) break;
        text += digit(t + ((q - t) % (36 - t)));
        q = floor((q - t) / (36 - t));
      }
      text += digit(q);
      bias = adapt(delta, handled + 1, handled === basic);
      delta = 0;
      handled++;
    }
    delta++;
    n++;
  }
  return 'xn--' + text;
};

const parseIpv6 = (text) => {
  const halves = splitAt(text, '::');
  if (halves.length > 2) return null;
  const words = (part) => {
    if (part === '') return [];
    const pieces = splitAt(part, ':'), values = [];
    for (let i = 0; i < pieces.length; i++) {
      const dotted = i === pieces.length - 1 ? matches(/^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/, pieces[i]) : null;
      if (dotted) {
        if (dotted[1] > 255 || dotted[2] > 255 || dotted[3] > 255 || dotted[4] > 255) return null;
        pushOf(values, dotted[1] * 256 + +dotted[2], dotted[3] * 256 + +dotted[4]);
      } else if (testOf(/^[0-9a-fA-F]{1,4}$/, pieces[i])) pushOf(values, parseInteger(pieces[i], 16));
      else return null;
    }
    return values;
  };
  const head = words(halves[0]), tail = halves.length === 2 ? words(halves[1]) : [];
  if (head === null || tail === null) return null;
  const gap = 8 - head.length - tail.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return null;
  for (let i = 0; i < gap; i++) pushOf(head, 0);
  for (let i = 0; i < tail.length; i++) pushOf(head, tail[i]);
  return writeIpv6(head);
};
const parseInteger = parseInt, numberText = uncurried(Number.prototype.toString);
const writeIpv6 = (words) => {
  let best = -1, length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && words[i + run] === 0) run++;
    if (run > length) { best = i; length = run; }
    if (run) i += run - 1;
  }
  let text = '[';
  for (let i = 0; i < 8; i++) {
    if (i === best) { text += i === 0 ? '::' : ':'; i += length - 1; continue; }
    text += numberText(words[i], 16) + (i < 7 ? ':' : '');
  }
  return text + ']';
};
const parseHost = (text, special) => {
  if (text[0] === '[') return text[text.length - 1] === ']' ? parseIpv6(slice(text, 1, -1)) : null;
  if (!special) return testOf(/[\x00-\x20#/:<>?@[\\\]^|]/, text) ? null : encodeOutside(text, IN_OPAQUE);
  let host;
  try { host = lower(normalizeOf(decodePart(replaceIn(text, /%(?![0-9a-fA-F]{2})/g, '%25')), 'NFKC')); } catch { return null; }
  host = replaceIn(host, /[\u3002\uff0e\uff61]/g, '.');
  if (host === '' || testOf(/[\x00-\x20"#%/:<>?@[\\\]^`{|}\x7f]/, host)) return null;
  const labels = splitAt(host, '.');
  for (let i = 0; i < labels.length; i++) if (testOf(/[^\x00-\x7f]/, labels[i])) labels[i] = punycode(labels[i]);
  host = joinOf(labels, '.');
  const last = labels[labels.length - 1] === '' && labels.length > 1 ? labels[labels.length - 2] : labels[labels.length - 1];
  if (testOf(/^(\d+|0x[0-9a-f]*)$/, last)) {
    const quad = matches(/^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/, host);
    return quad && quad[1] < 256 && quad[2] < 256 && quad[3] < 256 && quad[4] < 256 ? host : null;
  }
  return host;
};
const resolvePath = (path, special) => {
  const steps = splitAt(special ? replaceIn(path, /\\/g, '/') : path, '/'), kept = [];
  for (let i = 1; i < steps.length; i++) {
    const step = steps[i], plain = lower(replaceIn(step, /%2e/gi, '.'));
    const end = i === steps.length - 1;
    if (plain === '..') { if (kept.length) popOf(kept); if (end) pushOf(kept, ''); }
    else if (plain === '.') { if (end) pushOf(kept, ''); }
    else pushOf(kept, encodeOutside(step, IN_PATH));
  }
  return '/' + joinOf(kept, '/');
};
// Takes the authority apart into `record`. Gives false when it is not one.
const readAuthority = (record, text, special) => {
  const at = lastIndexOf(text, '@');
  if (at >= 0) {
    const user = slice(text, 0, at), colon = indexOf(user, ':');
    record.username = encodeOutside(colon < 0 ? user : slice(user, 0, colon), IN_USER);
    record.password = colon < 0 ? '' : encodeOutside(slice(user, colon + 1), IN_USER);
    text = slice(text, at + 1);
  }
  const port = matches(/:(\d*)$/, text);
  if (port && !(text[0] === '[' && indexOf(text, ']') > port.index)) {
    text = slice(text, 0, port.index);
    if (port[1] !== '') {
      const value = NativeNumber(port[1]);
      if (value > 65535) return false;
      record.port = NativeString(value) === DEFAULT_PORT[record.protocol] ? '' : NativeString(value);
    }
  }
  if (text === '') { record.host = ''; return record.protocol === 'file:' || !special; }
  const host = parseHost(text, special);
  if (host === null) return false;
  record.host = record.protocol === 'file:' && host === 'localhost' ? '' : host;
  return true;
};
const emptyRecord = (protocol) => ({ protocol, username: '', password: '', host: null, port: '', path: '', search: '', hash: '', opaque: false });
const parseUrl = (given, base) => {
  let text = replaceIn(replaceIn(given, /^[\x00-\x20]+|[\x00-\x20]+$/g, ''), /[\t\n\r]/g, '');
  const scheme = matches(/^([A-Za-z][A-Za-z0-9+.\-]*):/, text);
  let hash = '', search = '';
  const cutAt = indexOf(text, '#');
  if (cutAt >= 0) { hash = slice(text, cutAt + 1); text = slice(text, 0, cutAt); }
  const protocol = scheme ? lower(scheme[0]) : base ? base.protocol : null;
  if (protocol === null) return null;
  const special = DEFAULT_PORT[protocol] !== undefined;
  let rest = scheme ? slice(text, scheme[0].length) : text;
  const ask = indexOf(rest, '?'), asks = ask >= 0;
  if (asks) { search = slice(rest, ask + 1); rest = slice(rest, 0, ask); }
  if (special) rest = replaceIn(rest, /\\/g, '/');
  const record = emptyRecord(protocol);
  const relative = base && (!scheme || (special && protocol === base.protocol && slice(rest, 0, 1) !== '/'));
  if (relative && base.opaque && !(rest === '' && !asks && cutAt >= 0)) return null;
  record.search = encodeOutside(search, IN_QUERY);
  record.hash = encodeOutside(hash, IN_FRAGMENT);
  if (relative && slice(rest, 0, 2) !== '//') return fillFromBase(record, base, rest, asks, special);
  if (special || slice(rest, 0, 2) === '//') {
    const body = special && protocol !== 'file:' ? replaceIn(rest, /^\/*/, '') : replaceIn(rest, /^\/\//, '');
    const hasAuthority = protocol !== 'file:' || slice(rest, 0, 2) === '//';
    const end = indexOf(body, '/'), authority = !hasAuthority ? '' : end < 0 ? body : slice(body, 0, end);
    if (!readAuthority(record, authority, special)) return null;
    const path = hasAuthority ? (end < 0 ? '' : slice(body, end)) : body;
    record.path = path === '' && !special ? '' : resolvePath(path[0] === '/' ? path : '/' + path, special);
    return record;
  }
  if (rest[0] === '/') record.path = resolvePath(rest, false);
  else { record.opaque = true; record.path = encodeOutside(rest, IN_OPAQUE); }
  return record;
};
const fillFromBase = (record, base, rest, asks, special) => {
  record.username = base.username; record.password = base.password; record.host = base.host; record.port = base.port;
  record.opaque = base.opaque;
  if (rest === '') {
    record.path = base.path;
    if (!asks) record.search = base.search;
  } else if (rest[0] === '/') record.path = resolvePath(rest, special);
  else record.path = resolvePath(slice(base.path, 0, lastIndexOf(base.path, '/') + 1) + rest, special);
  return record;
};
const writeUrl = (record, withHash) => {
  let text = record.protocol;
  if (record.host !== null) {
    text += '//';
    if (record.username !== '' || record.password !== '') text += record.username + (record.password === '' ? '' : ':' + record.password) + '@';
    text += record.host + (record.port === '' ? '' : ':' + record.port);
  } else if (!record.opaque && slice(record.path, 0, 2) === '//') text += '/.';
  return text + record.path + (record.search === '' ? '' : '?' + record.search) + (withHash && record.hash !== '' ? '#' + record.hash : '');
};

const formEncode = (text) => replaceIn(replaceIn(encodePart(wellFormed(text)), /[!'()~]/g, (c) => '%' + HEX_UPPER[charCode(c, 0) >> 4] + HEX_UPPER[charCode(c, 0) & 15]), /%20/g, '+');
const formDecode = (text) => {
  text = replaceIn(text, /\+/g, ' ');
  try { return decodePart(text); } catch {
    return replaceIn(text, /(?:%[0-9a-fA-F]{2})+/g, (run) => {
      const bytes = new ByteView(run.length / 3);
      for (let i = 0; i < run.length / 3; i++) bytes[i] = parseInteger(slice(run, i * 3 + 1, i * 3 + 3), 16);
      return readUtf8(bytes, false, true)[0];
    });
  }
};
class URLSearchParams {
  #pairs = []; #changed = null;
  constructor(init = '') {
    if (typeof init === 'object' && init !== null) this.#fromObject(init);
    else this.#fromText(NativeString(init));
  }
  static watch(params, changed) { params.#changed = changed; }
  static refill(params, text) { params.#fromText(text); }
  #fromText(text) {
    this.#pairs = [];
    const parts = splitAt(text[0] === '?' ? slice(text, 1) : text, '&');
    for (let i = 0; i < parts.length; i++) {
      if (parts[i] === '') continue;
      const equals = indexOf(parts[i], '=');
      pushOf(this.#pairs, equals < 0 ? [formDecode(parts[i]), ''] : [formDecode(slice(parts[i], 0, equals)), formDecode(slice(parts[i], equals + 1))]);
    }
  }
  #fromObject(init) {
    if (typeof init[Symbol.iterator] === 'function') {
      for (const pair of init) {
        const [name, value, ...more] = pair;
        if (value === undefined || more.length) throw new NativeTypeError('each entry of URLSearchParams is a pair');
        pushOf(this.#pairs, [NativeString(name), NativeString(value)]);
      }
    } else for (const name of objectKeys(init)) pushOf(this.#pairs, [name, NativeString(init[name])]);
  }
  #touched() { if (this.#changed !== null) this.#changed(this.toString()); }
  get size() { return this.#pairs.length; }
  append(name, value) { pushOf(this.#pairs, [NativeString(name), NativeString(value)]); this.#touched(); }
  delete(name, value) {
    for (let i = this.#pairs.length - 1; i >= 0; i--) {
      if (this.#pairs[i][0] === NativeString(name) && (value === undefined || this.#pairs[i][1] === NativeString(value))) spliceOf(this.#pairs, i, 1);
    }
    this.#touched();
  }
  get(name) { for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === NativeString(name)) return this.#pairs[i][1]; return null; }
  getAll(name) { const found = []; for (let i = 0; i < this.#pairs.length; i++) if (this.#pairs[i][0] === NativeString(name)) pushOf(found, this.#pairs[i][1]); return found; }
  has(name, value) { const all = this.getAll(name); if (value === undefined) return all.length > 0; for (let i = 0; i < all.length; i++) if (all[i] === NativeString(value)) return true; return false; }
  set(name, value) {
    name = NativeString(name); value = NativeString(value);
    let done = false;
    for (let i = 0; i < this.#pairs.length; i++) {
      if (this.#pairs[i][0] !== name) continue;
      if (done) spliceOf(this.#pairs, i--, 1); else { this.#pairs[i][1] = value; done = true; }
    }
    if (!done) pushOf(this.#pairs, [name, value]);
    this.#touched();
  }
  sort() { sortOf(this.#pairs, (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)); this.#touched(); }
  forEach(callback, self) { for (const [name, value] of this) apply(callback, self, [value, name, this]); }
  *entries() { for (let i = 0; i < this.#pairs.length; i++) yield [this.#pairs[i][0], this.#pairs[i][1]]; }
  *keys() { for (let i = 0; i < this.#pairs.length; i++) yield this.#pairs[i][0]; }
  *values() { for (let i = 0; i < this.#pairs.length; i++) yield this.#pairs[i][1]; }
  [Symbol.iterator]() { return this.entries(); }
  toString() {
    let text = '';
    for (let i = 0; i < this.#pairs.length; i++) text += (i ? '&' : '') + formEncode(this.#pairs[i][0]) + '=' + formEncode(this.#pairs[i][1]);
    return text;
  }
  get [Symbol.toStringTag]() { return 'URLSearchParams'; }
}
const { watch: watchParams, refill: refillParams } = URLSearchParams;
delete URLSearchParams.watch;
delete URLSearchParams.refill;

class URL {
  #record; #params = null;
  constructor(url, base) {
    const start = base === undefined ? undefined : parseUrl(NativeString(base));
    if (start === null) throw invalidUrl(NativeString(base));
    this.#record = parseUrl(NativeString(url), start);
    if (this.#record === null) throw invalidUrl(NativeString(url));
  }
  static canParse(url, base) { try { new URL(url, base); return true; } catch { return false; } }
  static parse(url, base) { try { return new URL(url, base); } catch { return null; } }
  #special() { return DEFAULT_PORT[this.#record.protocol] !== undefined; }
  get href() { return writeUrl(this.#record, true); }
  set href(value) { this.#record = new URL(value).#record; if (this.#params !== null) refillParams(this.#params, this.#record.search); }
  get origin() { const r = this.#record; return this.#special() && r.protocol !== 'file:' ? r.protocol + '//' + this.host : 'null'; }
  get protocol() { return this.#record.protocol; }
  set protocol(value) {
    const next = lower(replaceIn(NativeString(value), /:.*$/s, '')) + ':';
    if (testOf(/^[a-z][a-z0-9+.\-]*:$/, next) && (DEFAULT_PORT[next] !== undefined) === this.#special()) {
      this.#record.protocol = next;
      if (this.#record.port === DEFAULT_PORT[next]) this.#record.port = '';
    }
  }
  get username() { return this.#record.username; }
  set username(value) { if (this.#record.host) this.#record.username = encodeOutside(NativeString(value), IN_USER); }
  get password() { return this.#record.password; }
  set password(value) { if (this.#record.host) this.#record.password = encodeOutside(NativeString(value), IN_USER); }
  get host() { const r = this.#record; return (r.host ?? '') + (r.port === '' ? '' : ':' + r.port); }
  set host(value) { const next = emptyRecord(this.#record.protocol); if (!this.#record.opaque && readAuthority(next, NativeString(value), this.#special()) && next.host) { this.#record.host = next.host; if (testOf(/:\d+$/, NativeString(value))) this.#record.port = next.port; } }
  get hostname() { return this.#record.host ?? ''; }
  set hostname(value) { const host = parseHost(NativeString(value), this.#special()); if (!this.#record.opaque && host !== null) this.#record.host = host; }
  get port() { return this.#record.port; }
  set port(value) {
    value = NativeString(value);
    if (value === '') this.#record.port = '';
    else if (testOf(/^\d{1,5}/, value)) { const n = NativeNumber(matches(/^\d{1,5}/, value)[0]); if (n <= 65535) this.#record.port = NativeString(n) === DEFAULT_PORT[this.#record.protocol] ? '' : NativeString(n); }
  }
  get pathname() { return this.#record.path; }
  set pathname(value) { value = NativeString(value); if (!this.#record.opaque) this.#record.path = resolvePath(replaceIn(replaceIn(value[0] === '/' ? value : '/' + value, /\?/g, '%3F'), /#/g, '%23'), this.#special()); }
  get search() { return this.#record.search === '' ? '' : '?' + this.#record.search; }
  set search(value) {
    this.#record.search = encodeOutside(replaceIn(replaceIn(NativeString(value), /^\?/, ''), /#/g, '%23'), IN_QUERY);
    if (this.#params !== null) refillParams(this.#params, this.#record.search);
  }
  get searchParams() {
    if (this.#params === null) {
      this.#params = new URLSearchParams(this.#record.search);
      watchParams(this.#params, (text) => { this.#record.search = text; });
    }
    return this.#params;
  }
  get hash() { return this.#record.hash === '' ? '' : '#' + this.#record.hash; }
  set hash(value) { this.#record.hash = encodeOutside(replaceIn(NativeString(value), /^#/, ''), IN_FRAGMENT); }
  toString() { return this.href; }
  toJSON() { return this.href; }
  get [Symbol.toStringTag]() { return 'URL'; }
}
expose({ URL, URLSearchParams });
