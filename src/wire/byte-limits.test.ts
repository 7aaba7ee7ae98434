import { expect, test } from 'vitest'
import { assembly, FrameRefused, frameLimit, MQTT_HEADER_BYTES, mqttPacketSize } from './byte-limits.ts'

/** Runs `bytes` through a limit in the given pieces and answers with the frames it found. */
function split(pieces: readonly Buffer[], limit = 1_000_000): Buffer[] {
  const frames = frameLimit(MQTT_HEADER_BYTES, mqttPacketSize, () => limit)
  const whole = assembly()
  const found: Buffer[] = []
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const end = frames.advance(piece, at)
      const part = piece.subarray(at, end)
      if (frames.complete()) found.push(Buffer.from(whole.finish(part)))
      else whole.add(part)
      at = end
    }
  }
  return found
}

const packet = (length: number): Buffer => {
  const header = length < 128 ? [0x30, length] : [0x30, (length & 0x7f) | 0x80, length >> 7]
  return Buffer.concat([Buffer.from(header), Buffer.from(Array.from({ length }, (_, at) => at & 0xff))])
}

test('the size of an MQTT packet is known once its length field is complete', () => {
  const size = (...bytes: number[]) => mqttPacketSize(Buffer.from(bytes), 0, bytes.length)
  expect(size(0x10)).toBeUndefined()
  expect(size(0xc0, 0)).toBe(2)
  expect(size(0x30, 127)).toBe(129)
  expect(size(0x30, 0x80)).toBeUndefined()
  expect(size(0x30, 0x80, 1)).toBe(131)
  expect(size(0x30, 0xff, 0xff, 0xff, 0x7f)).toBe(5 + 268_435_455)
  expect(size(0x30, 0xff, 0xff, 0xff, 0xff)).toBeUndefined()
})

test('three packets cut at every possible two places come out whole', () => {
  const packets = [packet(3), packet(200), packet(0)]
  const bytes = Buffer.concat(packets)
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
      expect(split(pieces)).toEqual(packets)
    }
  }
})

test('packets come out whole byte by byte', () => {
  const packets = [packet(3), packet(300), packet(0), packet(1)]
  const bytes = Buffer.concat(packets)
  expect(split([...bytes].map((byte) => Buffer.from([byte])))).toEqual(packets)
})

test('a frame that arrives in one piece is not copied', () => {
  const piece = packet(3)
  expect(assembly().finish(piece)).toBe(piece)
})

test('a packet of the limit passes, one byte more is refused with its header', () => {
  const [fits, large] = [packet(300), packet(301)]
  expect(split([fits], fits.length)).toEqual([fits])
  expect(() => split([large.subarray(0, 3)], fits.length)).toThrow(FrameRefused)
  expect(() => split([large.subarray(0, 1), large.subarray(1, 2), large.subarray(2, 3)], fits.length)).toThrow(
    'A frame of 304 bytes was refused: at most 303 are accepted here.',
  )
})

test('256 MiB are refused at the fifth byte, not held', () => {
  const frames = frameLimit(MQTT_HEADER_BYTES, mqttPacketSize, () => 16_384)
  const bytes = Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f])
  for (let at = 0; at < 4; at++) expect(frames.advance(bytes.subarray(at, at + 1), 0)).toBe(1)
  expect(() => frames.advance(bytes.subarray(4), 0)).toThrow(FrameRefused)
})

test.each([
  ['in one piece', [[0x10, 0xff, 0xff, 0xff, 0xff, 0]]],
  [
    'in two',
    [
      [0x10, 0xff],
      [0xff, 0xff, 0xff, 0],
    ],
  ],
])('a length field of five bytes is refused (%s)', (_, pieces) => {
  expect(() => split(pieces.map((piece) => Buffer.from(piece)))).toThrow('A frame header without a valid length')
})

test('the limit may grow between frames', () => {
  let limit = 10
  const frames = frameLimit(MQTT_HEADER_BYTES, mqttPacketSize, () => limit)
  const [small, large] = [packet(5), packet(100)]
  expect(frames.advance(small, 0)).toBe(small.length)
  limit = 200
  expect(frames.advance(large, 0)).toBe(large.length)
  expect(frames.complete()).toBe(true)
})
