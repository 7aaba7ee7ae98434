/** Where a page ended: the id of its last item, and the index and its value when the scan goes by one. */
export interface Place {
  readonly index: string | undefined
  readonly value: string | number | undefined
  readonly id: string
}

/** Opaque text for `Scan.after`. It names a place, not an offset: items that come and go do not shift it. */
export function writeCursor({ index, value, id }: Place): string {
  return Buffer.from(JSON.stringify(index === undefined ? [id] : [id, index, value])).toString('base64url')
}

/** Throws RangeError unless `text` was written for a scan by this index. */
export function readCursor(text: string, index: string | undefined): Place {
  const bytes = Buffer.from(text, 'base64url')
  const parts = bytes.toString('base64url') === text ? parse(bytes.toString()) : undefined
  if (!Array.isArray(parts) || parts.length !== (index === undefined ? 1 : 3)) throw malformed()
  const [id, of, value] = parts as unknown[]
  if (typeof id !== 'string' || of !== index) throw malformed()
  if (index === undefined) return { index, value: undefined, id }
  if (typeof value !== 'string' && typeof value !== 'number') throw malformed()
  return { index, value, id }
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const malformed = (): RangeError =>
  new RangeError('The cursor is not one that this scan gave out. Start again without it.')
