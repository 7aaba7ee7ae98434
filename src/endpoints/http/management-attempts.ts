import type { FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import type { Control } from '../../control/control.ts'
import type { AttemptQuery, Provisioning } from '../../provisioning/provisioning.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { provisioningServicesKind, required } from './management-instances.ts'
import { queryOf, type Routes } from './server.ts'

export interface ManagementAttemptsNeeds extends ManagementGuard {
  readonly control: Control
  readonly provisioning: Pick<Provisioning, 'attempts'>
}

/** Ours, not Azure's: why a device was refused, or how it came to its hub (users-and-lessons.md 1, #3). */
export const managementAttempts = (needs: ManagementAttemptsNeeds): Routes =>
  guarded(needs, (app) => {
    const services = provisioningServicesKind(needs.control)
    app.get('/muster/provisioningServices/:name/attempts', async (request) => {
      const service = await required(services, request)
      return { value: await needs.provisioning.attempts.find(service, readQuery(request)) }
    })
  })

function readQuery(request: FastifyRequest): AttemptQuery {
  const [registrationId, trackingId] = ['registrationId', 'trackingId'].map((name) => idOf(request, name))
  if (registrationId !== undefined && trackingId === undefined) return { registrationId }
  if (trackingId !== undefined && registrationId === undefined) return { trackingId: trackingId.toLowerCase() }
  throw new ServiceError(400004, 'Expected either registrationId or trackingId in the query, found both or neither.')
}

function idOf(request: FastifyRequest, name: string): string | undefined {
  const id = queryOf(request, name) || undefined
  if (id === undefined || id.length <= limits.idLength) return id
  throw new ServiceError(400004, `${name} must have at most ${limits.idLength} characters, found ${id.length}.`)
}
