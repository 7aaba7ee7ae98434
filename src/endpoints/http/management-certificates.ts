import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { Fields, type JsonObject } from '../../base/json.ts'
import type { CaCertificate, Certificates, Owner } from '../../control/control.ts'
import { certificateDocument, readCertificateInput } from './management-documents.ts'
import { bases, ifMatchOf, jsonOf, located, paramOf } from './management-request.ts'

/** Whose certificates: the words of the path and the kind of owner. */
interface CertificateOwner {
  readonly kind: Owner['kind']
  readonly segment: 'provisioningServices' | 'IotHubs'
}

/**
 * CA certificates and proof of possession (dps.md 7.3, hub-service.md 11). Query parameters of Azure's SDKs
 * (`certificate.name`, `certificate.nonce` …) repeat what the service knows and are not read.
 */
export function certificateRoutes(
  app: FastifyInstance,
  { kind, segment }: CertificateOwner,
  certificates: Certificates,
) {
  const ownerOf = (request: FastifyRequest): Owner => ({ kind, name: paramOf(request, 'name') })
  const nameOf = (request: FastifyRequest): string => paramOf(request, 'certificate')
  const shown = (request: FastifyRequest, certificate: CaCertificate): JsonObject => {
    const { id } = located(request, segment, paramOf(request, 'name'))
    return certificateDocument(certificate, segment, `${id}/certificates/${certificate.name}`)
  }
  for (const base of bases) {
    const list = `${base}/${segment}/:name/certificates`
    const one = `${list}/:certificate`
    app.get(list, async (request) => {
      const all = await certificates.list(ownerOf(request))
      return { value: all.map((certificate) => shown(request, certificate)) }
    })
    app.get(one, async (request) => {
      const all = await certificates.list(ownerOf(request))
      return shown(request, requireNamed(all, nameOf(request)))
    })
    app.put(one, async (request, reply) => {
      const [owner, name] = [ownerOf(request), nameOf(request)]
      const before = await certificates.get(owner, name)
      const written = await certificates.put(owner, name, readCertificateInput(jsonOf(request)), ifMatchOf(request))
      reply.code(before === undefined ? 201 : 200)
      return shown(request, written)
    })
    app.delete(one, async (request, reply) => {
      await certificates.remove(ownerOf(request), nameOf(request), ifMatchOf(request))
      return reply.code(200).send()
    })
    app.post(`${one}/generateVerificationCode`, async (request) =>
      shown(
        request,
        await certificates.generateVerificationCode(ownerOf(request), nameOf(request), ifMatchOf(request)),
      ),
    )
    app.post(`${one}/verify`, async (request) => {
      const fields = new Fields(jsonOf(request), 'body')
      const proof = fields.required('certificate', fields.string('certificate'))
      return shown(request, await certificates.verify(ownerOf(request), nameOf(request), proof, ifMatchOf(request)))
    })
  }
}

function requireNamed(all: readonly CaCertificate[], name: string): CaCertificate {
  const found = all.find((certificate) => certificate.name.toLowerCase() === name.toLowerCase())
  if (found !== undefined) return found
  const known = all.map((certificate) => certificate.name).join(', ') || 'none'
  throw new ServiceError(
    404008,
    `Expected the name of an uploaded certificate (${known}), found ${JSON.stringify(name.slice(0, 80))}.`,
  )
}
