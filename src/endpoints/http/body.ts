import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { assembly } from '../../wire/byte-limits.ts'

const NOTHING = Buffer.alloc(0)

/**
 * Reads a body as bytes, as many as its route takes. Pieces are counted too, and joined at once: each costs far more than
 * the byte that it may hold, and a stranger's megabyte in crumbs made fastify's own reader keep 360.
 */
export function readBody({ headers, routeOptions }: FastifyRequest, payload: IncomingMessage): Promise<Buffer> {
  const most = routeOptions.bodyLimit
  const announced = Number(headers['content-length'] ?? Number.NaN)
  const body = assembly()
  let length = 0
  let pieces = 0
  return new Promise((resolve, reject) => {
    if (announced > most) return reject(tooLarge())
    const add = (piece: Buffer): void => {
      length += piece.length
      pieces += 1
      if (length <= most && pieces <= limits.httpBodyPieces) return void body.add(piece)
      // The rest is dropped: the answer ends the connection.
      payload.off('data', add)
      reject(length > most ? tooLarge() : inCrumbs())
    }
    payload.on('data', add)
    payload.on('end', () => {
      if (Number.isNaN(announced) || announced === length) resolve(body.finish(NOTHING))
      else reject(new ServiceError(400004, 'The body is not as long as Content-Length says.'))
    })
    // Nobody is left to hear this; it is what the log tells.
    payload.on('error', () => reject(new ServiceError(400004, 'The connection ended before the body did.')))
  })
}

const tooLarge = (): ServiceError => new ServiceError(413001, 'The request body is larger than this operation takes.')

const inCrumbs = (): ServiceError =>
  new ServiceError(400004, `The request body came in more than ${limits.httpBodyPieces} pieces. Send larger ones.`)
