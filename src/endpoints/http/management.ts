import { ServiceError } from '../../base/errors.ts'
import type { Control } from '../../control/control.ts'
import { certificateRoutes } from './management-certificates.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { instanceRoutes, iotHubsKind, provisioningServicesKind } from './management-instances.ts'
import { idOf } from './management-request.ts'
import type { Routes } from './server.ts'

export interface ManagementNeeds extends ManagementGuard {
  readonly control: Control
}

/**
 * The management API: Azure's control plane for instances, keys and CA certificates (dps.md 7, hub-service.md 11), on
 * a listener of its own. Everything but `GET /health` needs the token. Operations that do not exist (failover,
 * routing, exportDevices …) are refused by name.
 */
export const management = (needs: ManagementNeeds): Routes => {
  const { control } = needs
  const [services, hubs] = [provisioningServicesKind(control), iotHubsKind(control)]
  const routes = guarded(needs, (app) => {
    instanceRoutes(app, services)
    certificateRoutes(app, services, control.certificates)
    instanceRoutes(app, hubs)
    certificateRoutes(app, hubs, control.certificates)
    app.all('/*', async (request) => {
      throw new ServiceError(
        404013,
        `The management API has no operation ${request.method} ${idOf(request)}; nothing was changed. COVERAGE.md lists what exists.`,
      )
    })
  })
  return (app) => {
    // Whoever may connect may ask whether somebody is there, and learns nothing else.
    app.get('/health', async (_request, reply) => reply.type('text/plain').send('ok'))
    app.register(async (scope) => routes(scope))
  }
}
