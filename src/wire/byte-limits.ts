/**
 * Sizes are counted in front of every parser: `mqtt-packet`, `rhea` and `ws` hold whatever a stranger announces
 * (style-anchors.md 9.1: 200 MiB of a 256 MiB CONNECT were kept).
 */

/** Where the frame that starts at `start` says it ends: its whole size, or undefined while its header is incomplete. */
export type SizeOf = (bytes: Uint8Array, start: number, end: number) => number | undefined

/** A frame was announced that is larger than allowed, or whose header announces no size at all. */
export class FrameRefused extends Error {
  constructor(size: number | undefined, limit: number) {
    super(
      size === undefined
        ? 'A frame header without a valid length was refused.'
        : `A frame of ${size} bytes was refused: at most ${limit} are accepted here.`,
    )
    this.name = 'FrameRefused'
  }
}

export interface FrameLimit {
  /**
   * Steps over the bytes of the current frame that `chunk` holds from `at` on. Returns where they end in this chunk;
   * `complete()` then says whether the frame ended there or goes on in the next chunk.
   * @throws FrameRefused as soon as the header is known to announce too much.
   */
  advance(chunk: Uint8Array, at: number): number
  complete(): boolean
  /** Size announced by the current frame's header, undefined while that is incomplete. */
  announced(): number | undefined
}

/**
 * Follows frame borders through a byte stream cut at any place. Only a header that is itself cut is ever copied.
 * @param headerBytes the most bytes a header may need before it must have announced its size
 * @param limit asked once per frame, so that it can grow when the peer has proved who it is (bytes)
 */
export function frameLimit(headerBytes: number, sizeOf: SizeOf, limit: () => number): FrameLimit {
  const cutHeader = new Uint8Array(headerBytes)
  let held = 0
  let size: number | undefined
  let left = 0

  const announce = (announcedSize: number | undefined): void => {
    const most = limit()
    if (announcedSize === undefined || announcedSize > most) throw new FrameRefused(announcedSize, most)
    size = announcedSize
  }

  /** The header did not fit into one chunk: collect it byte by byte until it says its size. */
  const advanceHeader = (chunk: Uint8Array, at: number): number => {
    let next = at
    while (next < chunk.length && size === undefined) {
      cutHeader[held++] = chunk[next++]!
      const found = sizeOf(cutHeader, 0, held)
      if (found !== undefined || held === headerBytes) announce(found)
    }
    if (size !== undefined) left = size - held
    return next
  }

  const begin = (chunk: Uint8Array, at: number): number => {
    const found = held === 0 ? sizeOf(chunk, at, Math.min(chunk.length, at + headerBytes)) : undefined
    if (found === undefined) return advanceHeader(chunk, at)
    announce(found)
    left = found
    return at
  }

  return {
    advance(chunk, at) {
      let next = at
      if (size === undefined || left === 0) {
        if (size !== undefined) {
          size = undefined
          held = 0
        }
        next = begin(chunk, at)
        if (size === undefined) return next
      }
      const step = Math.min(left, chunk.length - next)
      left -= step
      return next + step
    },
    complete: () => size !== undefined && left === 0,
    announced: () => size,
  }
}

/** MQTT: a type byte, then a base-128 length of one to four bytes (MQTT 3.1.1, 2.2.3). */
export const MQTT_HEADER_BYTES = 5

export function mqttPacketSize(bytes: Uint8Array, start: number, end: number): number | undefined {
  let length = 0
  let unit = 1
  for (let at = start + 1; at < end && at < start + MQTT_HEADER_BYTES; at++) {
    const byte = bytes[at]!
    length += (byte & 0x7f) * unit
    if ((byte & 0x80) === 0) return at + 1 - start + length
    unit *= 128
  }
  return undefined
}

export interface Assembly {
  /** Keeps a piece of a frame that is not complete yet. */
  add(piece: Uint8Array): void
  /** The whole frame, of which `last` is the last piece; without earlier pieces that is `last` itself, not a copy. */
  finish(last: Buffer): Buffer
}

/**
 * Puts a frame together that arrives in pieces. Memory follows what has arrived, never what was announced, and a frame
 * that arrives byte by byte costs its bytes, not an object for each.
 */
export function assembly(): Assembly {
  let held: Buffer | undefined
  let length = 0

  const add = (piece: Uint8Array): void => {
    if (held === undefined || held.length < length + piece.length) {
      // Not from Node's shared pool, which a slow stranger would keep alive.
      const larger = Buffer.allocUnsafeSlow(Math.max(256, 2 * (length + piece.length)))
      if (held !== undefined) held.copy(larger, 0, 0, length)
      held = larger
    }
    held.set(piece, length)
    length += piece.length
  }

  return {
    add,
    finish(last) {
      if (held === undefined) return last
      add(last)
      const frame = held.subarray(0, length)
      held = undefined
      length = 0
      return frame
    },
  }
}
