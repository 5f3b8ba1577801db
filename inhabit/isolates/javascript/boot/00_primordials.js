// What the glue needs of the language, taken before any guest code can touch it. Everything below uses these
// and never a method looked up at run time, so that a program that rewrites prototypes confuses only itself.
const { apply, ownKeys, getPrototypeOf, setPrototypeOf, defineProperty, getOwnPropertyDescriptor } = Reflect;
// A method as a function of its receiver. A bound `call` looks nothing up when it runs.
const uncurried = Function.prototype.bind.bind(Function.prototype.call);
const { parse: parseJson, stringify: toJson } = JSON;
const { isArray } = Array;
const { isFinite: finite, isInteger } = Number;
const { floor, min, max } = Math;
const NativePromise = Promise, NativeError = Error, NativeTypeError = TypeError, NativeRangeError = RangeError;
const NativeMap = Map, NativeSet = Set, NativeProxy = Proxy, NativeString = String, NativeNumber = Number;
const NativeDate = Date, NativeRegExp = RegExp, NativeObject = Object, NativeFunction = Function;
const dateNow = Date.now;
const thenOf = uncurried(Promise.prototype.then);
const mapGet = uncurried(Map.prototype.get), mapSet = uncurried(Map.prototype.set);
const mapDelete = uncurried(Map.prototype.delete), mapHas = uncurried(Map.prototype.has);
const mapEach = uncurried(Map.prototype.forEach), setEach = uncurried(Set.prototype.forEach);
const sizeOfMap = uncurried(getOwnPropertyDescriptor(Map.prototype, 'size').get);
const slice = uncurried(String.prototype.slice), indexOf = uncurried(String.prototype.indexOf);
const wellFormed = uncurried(String.prototype.toWellFormed);
const matches = uncurried(RegExp.prototype.exec);
const toIso = uncurried(Date.prototype.toISOString), timeOf = uncurried(Date.prototype.getTime);
const { keys: objectKeys, create: objectCreate, freeze, is: same } = Object;
const TypedArray = getPrototypeOf(Uint8Array);
const typedLength = uncurried(getOwnPropertyDescriptor(TypedArray.prototype, 'length').get);
const typedTag = uncurried(getOwnPropertyDescriptor(TypedArray.prototype, Symbol.toStringTag).get);

// A bare list: no prototype, so that writing an index can never run a setter of the guest's.
const bareList = () => {
  const list = [];
  setPrototypeOf(list, null);
  return list;
};

// Add globals the way a platform does: not enumerable, replaceable.
const expose = (members) => {
  for (const name of ownKeys(members)) {
    defineProperty(globalThis, name, { value: members[name], writable: true, configurable: true, enumerable: false });
  }
};
