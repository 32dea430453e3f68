/** Numbers from base64, which is how vectors travel: half the bytes of JSON's digits or less. */

// A browser's own Float16Array would do, but many have none. 65,536 values make a table.
const VALUES = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits += 1) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) VALUES[bits] = sign * fraction * 2 ** -24;
  else if (exponent === 31) VALUES[bits] = fraction ? NaN : sign * Infinity;
  else VALUES[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * @param {string} base64 Little-endian float16, as every processor that runs a browser has it.
 * @returns {Float32Array}
 */
export function decodeHalfFloats(base64) {
  const bytes = Uint8Array.fromBase64?.(base64) ?? bytesFromBase64(base64);
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const values = new Float32Array(bits.length);
  for (let index = 0; index < bits.length; index += 1) values[index] = VALUES[bits[index]];
  return values;
}

function bytesFromBase64(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
