import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { admitService, type HubFaceNeeds, paramOf, refuseUnbuilt } from './hub-request.ts'
import { renderHubError } from './render.ts'
import type { Routes } from './server.ts'

export interface HubTwinsNeeds extends HubFaceNeeds {
  readonly clock: Clock
  readonly log: Log
}

/** Paths that have operations; the other methods on them are refused as methods, not as paths. */
const KNOWN = /^\/twins\/[^/]+(\/modules\/[^/]+)?\/?$/i

/** Device and module twins for services (hub-service.md 4). Reading only, so far. */
export const hubTwins =
  (needs: HubTwinsNeeds): Routes =>
  (app) => {
    app.setErrorHandler(renderHubError(needs))
    const { twins } = needs.hub

    app.get('/twins/:deviceId', async (request, reply) => {
      const { hub } = await admitService(needs, request, 'ServiceConnect')
      const twin = await twins.get(hub, paramOf(request, 'deviceId'))
      return reply.header('ETag', `"${twin.etag}"`).send(twin)
    })
    app.get('/twins/:deviceId/modules/:moduleId', async (request, reply) => {
      const { hub } = await admitService(needs, request, 'ServiceConnect')
      const twin = await twins.get(hub, paramOf(request, 'deviceId'), paramOf(request, 'moduleId'))
      return reply.header('ETag', `"${twin.etag}"`).send(twin)
    })
    app.all('/twins/*', async (request) => refuseUnbuilt(request, KNOWN))
  }
