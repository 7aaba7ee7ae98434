import { ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { parsePageRequest } from '../../base/pages.ts'
import type { Control } from '../../control/control.ts'
import type { Hub } from '../../hub/hub.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { iotHubsKind, required } from './management-instances.ts'
import { headerOf, queryOf, type Routes } from './server.ts'

export interface ManagementDevicesNeeds extends ManagementGuard {
  readonly control: Control
  readonly hub: Pick<Hub, 'registry'>
}

/**
 * Ours, not Azure's: the devices of a hub page by page, as `GET /devices` shows them, keys included; the registry's own
 * list ends at 1,000. With `parentScope` only the children of that Edge device. A bare array with `x-ms-continuation`,
 * as the other lists have it.
 */
export const managementDevices = (needs: ManagementDevicesNeeds): Routes =>
  guarded(needs, (app) => {
    const hubs = iotHubsKind(needs.control)
    app.get('/muster/hubs/:name/devices', async (request, reply) => {
      const hub = await required(hubs, request)
      const headers = {
        maxItemCount: headerOf(request, 'x-ms-max-item-count'),
        continuation: headerOf(request, 'x-ms-continuation'),
      }
      const page = parsePageRequest(headers, limits.deviceList)
      const { items, continuation } = await needs.hub.registry.pageDevices(hub, page, readScope(request))
      if (continuation !== undefined) reply.header('x-ms-continuation', continuation)
      return items
    })
  })

function readScope(request: Parameters<typeof queryOf>[0]): string | undefined {
  const scope = queryOf(request, 'parentScope')
  if (scope === undefined || (scope !== '' && scope.length <= limits.scopeLength)) return scope
  throw new ServiceError(
    400004,
    `parentScope must be the scope of an Edge device, 1 to ${limits.scopeLength} characters, found ${scope.length}.`,
  )
}
