import {
  asDps,
  type DpsFaceNeeds,
  dpsRoute,
  idMissing,
  ifMatch,
  jsonBody,
  pageRequest,
  segment,
  sendPage,
  serviceCall,
} from './dps-request.ts'
import type { Routes } from './server.ts'

/** Registration records, the service's side (dps.md 6.2). */
export const dpsRegistrations =
  (needs: DpsFaceNeeds): Routes =>
  (app) => {
    const { registrations } = needs.provisioning
    asDps(app, needs)

    app.get('/registrations/:id', async (request) => {
      const { service, apiVersion } = await serviceCall(needs, request, 'RegistrationStatusRead')
      return registrations.get(service, segment(request, 'id'), apiVersion)
    })

    app.delete('/registrations/:id', dpsRoute, async (request, reply) => {
      const { caller, service } = await serviceCall(needs, request, 'RegistrationStatusWrite')
      await registrations.remove(caller, service, segment(request, 'id'), ifMatch(request))
      return reply.code(204).send()
    })

    // The id is that of an enrollment group; Node sends `{"query":"*"}`, the CLI nothing (dps.md 6.2).
    app.post('/registrations/:id/query', dpsRoute, async (request, reply) => {
      const { service, apiVersion } = await serviceCall(needs, request, 'RegistrationStatusRead')
      const page = pageRequest(request)
      const id = segment(request, 'id')
      const found = await registrations.queryGroup(service, id, jsonBody(request), page, apiVersion)
      return sendPage(reply, 'DeviceRegistration', page, found)
    })

    app.route({ method: ['GET', 'DELETE'], url: '/registrations', handler: idMissing('registrationId') })
  }
