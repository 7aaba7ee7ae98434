import type { FastifyReply, FastifyRequest } from 'fastify'
import { AuthorizationRequired, type Claim, parseRegisterBody, Throttled } from '../../provisioning/provisioning.ts'
import { sourceOf } from '../../wire/unproved.ts'
import { apiVersionOf, asDps, type DpsFaceNeeds, dpsRoute, jsonBody, segment } from './dps-request.ts'
import { renderDpsError } from './render.ts'
import { headerOf, peerOfRequest, type Routes } from './server.ts'

/** Who the device is by the path, and what it shows: a token, else the certificates of its connection (dps.md 1.7). */
function claimOf(request: FastifyRequest): Claim {
  const { chain, address } = peerOfRequest(request)
  const named = {
    idScope: segment(request, 'idScope'),
    registrationId: segment(request, 'registrationId'),
    trackingId: request.id,
    transport: 'HTTPS',
    source: sourceOf(address),
  } as const
  const token = headerOf(request, 'authorization')
  if (token !== undefined) return { ...named, kind: 'sas', token }
  return chain.length > 0 ? { ...named, kind: 'x509', chain } : { ...named, kind: 'none' }
}

const bodyFor = (request: FastifyRequest, { registrationId }: Claim) =>
  parseRegisterBody(jsonBody(request), registrationId)

/** The device API over HTTPS (dps.md 1). */
export const dpsDevice = (needs: DpsFaceNeeds): Routes => {
  const { registrations } = needs.provisioning
  const retryAfter = (reply: FastifyReply): FastifyReply =>
    reply.code(202).header('Retry-After', String(registrations.retryAfterSeconds))

  return (app) => {
    const renderError = renderDpsError(needs)
    asDps(app, needs, (thrown, request, reply) => {
      if (thrown instanceof AuthorizationRequired) return renderChallenge(thrown, reply)
      if (thrown instanceof Throttled) peerOfRequest(request).proved()
      return renderError(thrown, request, reply)
    })
    const registration = '/:idScope/registrations/:registrationId'

    // Rust takes nothing but 202 here, and every client polls anyway (dps.md 1.10).
    app.put(`${registration}/register`, dpsRoute, async (request, reply) => {
      const claim = claimOf(request)
      const apiVersion = apiVersionOf(request)
      const status = await registrations.register(claim, bodyFor(request, claim), apiVersion)
      peerOfRequest(request).proved()
      return retryAfter(reply).header('Location', locationOf(request, claim)).send(status)
    })

    app.get(`${registration}/operations/:operationId`, async (request, reply) => {
      const claim = claimOf(request)
      const status = await registrations.status(claim, segment(request, 'operationId'), apiVersionOf(request))
      peerOfRequest(request).proved()
      return (status.status === 'assigning' ? retryAfter(reply) : reply).send(status)
    })

    app.post(registration, dpsRoute, async (request) => {
      const claim = claimOf(request)
      const apiVersion = apiVersionOf(request)
      const result = await registrations.lookup(claim, bodyFor(request, claim), apiVersion)
      peerOfRequest(request).proved()
      return result
    })
  }
}

/**
 * What a TPM has to unwrap and sign with (dps.md 4.1): C needs `keyName` to be a text and no `status`, Rust takes 401
 * alone and no second spelling of an error's members.
 */
const renderChallenge = ({ message, authenticationKey, keyName }: AuthorizationRequired, reply: FastifyReply) =>
  reply
    .code(401)
    .header('content-type', 'application/json; charset=utf-8')
    .send({ message, authenticationKey, keyName })

/** What the real service sends; no client reads it (dps.md 1.4). */
const locationOf = (request: FastifyRequest, { idScope, registrationId }: Claim): string =>
  `https://${request.headers.host ?? ''}/${encodeURIComponent(idScope)}/registrations/${encodeURIComponent(registrationId)}/register`
