// Seeded random: sfc32 (Chris Doty-Humphrey's small fast counting generator, from PractRand, public domain).
// Four 32-bit words come with the boot; the first twelve outputs are thrown away, as its author does.
let s0 = 1, s1 = 2, s2 = 3, s3 = 4;
const random32 = () => {
  const t = (s0 + s1 + s3) | 0;
  s3 = (s3 + 1) | 0;
  s0 = s1 ^ (s1 >>> 9);
  s1 = (s2 + (s2 << 3)) | 0;
  s2 = (s2 << 21) | (s2 >>> 11);
  s2 = (s2 + t) | 0;
  return t >>> 0;
};
const seedRandom = (a, b, c, d) => {
  s0 = a | 0; s1 = b | 0; s2 = c | 0; s3 = d | 1;
  for (let i = 0; i < 12; i++) random32();
};
defineProperty(Math, 'random', {
  value: function random() { return ((random32() >>> 5) * 67108864 + (random32() >>> 6)) / 9007199254740992; },
  writable: true, configurable: true,
});

const HEX = '0123456789abcdef';
const integerArrays = new NativeSet(['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array',
  'Int32Array', 'Uint32Array', 'BigInt64Array', 'BigUint64Array']);
const setHas = uncurried(Set.prototype.has);
const ByteView = Uint8Array, QUOTA = 65536;
const bufferOf = uncurried(getOwnPropertyDescriptor(TypedArray.prototype, 'buffer').get);
const offsetOf = uncurried(getOwnPropertyDescriptor(TypedArray.prototype, 'byteOffset').get);
const bytesOf = uncurried(getOwnPropertyDescriptor(TypedArray.prototype, 'byteLength').get);
const crypto = {
  getRandomValues(array) {
    if (!setHas(integerArrays, typedTag(array))) throw new NativeTypeError('crypto.getRandomValues takes an integer typed array');
    const size = bytesOf(array);
    if (size > QUOTA) throw new NativeRangeError(`crypto.getRandomValues fills at most ${QUOTA} bytes, asked for ${size}`);
    const view = new ByteView(bufferOf(array), offsetOf(array), size);
    for (let i = 0; i < size; i++) view[i] = random32();
    return array;
  },
  randomUUID() {
    let text = '';
    for (let i = 0; i < 32; i++) {
      let digit = random32() & 15;
      if (i === 12) digit = 4;
      if (i === 16) digit = (digit & 3) | 8;
      if (i === 8 || i === 12 || i === 16 || i === 20) text += '-';
      text += HEX[digit];
    }
    return text;
  },
};
expose({ crypto });
