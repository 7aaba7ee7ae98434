import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { parseIfMatch } from '../../base/etags.ts'
import type { Log } from '../../base/log.ts'
import type { KeyRenewal } from '../../hub/key-renewal.ts'
import { parseTop } from '../../hub/registry.ts'
import { admitService, admitToModules, type HubFaceNeeds, jsonOf, paramOf, refuseUnbuilt } from './hub-request.ts'
import { renderHubError } from './render.ts'
import { headerOf, queryOf, type Routes } from './server.ts'

export interface HubRegistryNeeds extends HubFaceNeeds {
  readonly clock: Clock
  readonly log: Log
}

/** Paths that have operations; the other methods on them are refused as methods. `/devices/query` is no device. */
const KNOWN =
  /^\/(devices(\/keys\/regenerate|\/(?!query\/?$)[^/]+(\/modules(\/[^/]+)?)?)?|statistics\/(devices|service))\/?$/i

/** The identity registry over HTTPS (hub-service.md 2): devices, modules, bulk changes, statistics. Any api-version. */
export const hubRegistry =
  (needs: HubRegistryNeeds): Routes =>
  (app) => {
    app.setErrorHandler(renderHubError(needs))
    const { registry } = needs.hub

    app.get('/devices', async (request) => {
      const { hub } = await admitService(needs, request, 'RegistryRead')
      return registry.listDevices(hub, parseTop(queryOf(request, 'top')))
    })
    app.post('/devices', async (request) => {
      const { hub, caller } = await admitService(needs, request, 'RegistryWrite')
      return registry.bulk(caller, hub, jsonOf(request))
    })
    app.post('/devices/keys/regenerate', async (request, reply) => {
      const { hub, caller } = await admitService(needs, request, 'RegistryWrite')
      const renewal = await registry.renewKeys(caller, hub, jsonOf(request))
      return reply.code(statusOf(renewal)).send(renewal)
    })

    app.get('/devices/:deviceId', async (request, reply) => {
      const { hub } = await admitService(needs, request, 'RegistryRead')
      return tagged(reply, await registry.getDevice(hub, paramOf(request, 'deviceId')))
    })
    // 200 on creation too: Python takes nothing else (hub-service.md 2.1).
    app.put('/devices/:deviceId', async (request, reply) => {
      const { hub, caller } = await admitService(needs, request, 'RegistryWrite')
      const deviceId = paramOf(request, 'deviceId')
      return tagged(reply, await registry.putDevice(caller, hub, deviceId, jsonOf(request), ifMatchOf(request)))
    })
    app.delete('/devices/:deviceId', async (request, reply) => {
      const { hub, caller } = await admitService(needs, request, 'RegistryWrite')
      await registry.removeDevice(caller, hub, paramOf(request, 'deviceId'), ifMatchOf(request))
      return reply.code(204).send()
    })

    app.get('/devices/:deviceId/modules', async (request) => {
      const deviceId = paramOf(request, 'deviceId')
      const { hub, caller } = await admitToModules(needs, request, deviceId, 'RegistryRead')
      return registry.listModules(caller, hub, deviceId)
    })
    app.get('/devices/:deviceId/modules/:moduleId', async (request, reply) => {
      const { deviceId, moduleId } = idsOf(request)
      const { hub, caller } = await admitToModules(needs, request, deviceId, 'RegistryRead')
      return tagged(reply, await registry.getModule(caller, hub, deviceId, moduleId))
    })
    // 200 on creation too: identityd takes nothing else (edge.md 4.5).
    app.put('/devices/:deviceId/modules/:moduleId', async (request, reply) => {
      const { deviceId, moduleId } = idsOf(request)
      const { hub, caller } = await admitToModules(needs, request, deviceId, 'RegistryWrite')
      const body = jsonOf(request)
      return tagged(reply, await registry.putModule(caller, hub, deviceId, moduleId, body, ifMatchOf(request)))
    })
    app.delete('/devices/:deviceId/modules/:moduleId', async (request, reply) => {
      const { deviceId, moduleId } = idsOf(request)
      const { hub, caller } = await admitToModules(needs, request, deviceId, 'RegistryWrite')
      await registry.removeModule(caller, hub, deviceId, moduleId, ifMatchOf(request))
      return reply.code(204).send()
    })

    app.get('/statistics/devices', async (request) => {
      const { hub } = await admitService(needs, request, 'RegistryRead')
      return registry.deviceStatistics(hub)
    })
    app.get('/statistics/service', async (request) => {
      const { hub } = await admitService(needs, request, 'RegistryRead')
      return registry.serviceStatistics(hub)
    })

    for (const path of UNBUILT) app.all(path, async (request) => refuseUnbuilt(request, KNOWN))
  }

/** What else the real hub answers under these names: query, jobs, configurations, messages, files, methods of Edge. */
const UNBUILT = [
  '/devices/*',
  '/statistics/*',
  '/jobs',
  '/jobs/*',
  '/configurations',
  '/configurations/*',
  '/digitaltwins/*',
  '/messages/*',
  '/files/*',
]

/** All, some or none of the keys were renewed; the body is the same (hub-service.md 2.8). */
const statusOf = ({ rotatedKeys, errors }: KeyRenewal): number =>
  errors.length === 0 ? 200 : rotatedKeys.length > 0 ? 207 : 400

const idsOf = (request: FastifyRequest) => ({
  deviceId: paramOf(request, 'deviceId'),
  moduleId: paramOf(request, 'moduleId'),
})

const ifMatchOf = (request: FastifyRequest) => parseIfMatch(headerOf(request, 'if-match'))

function tagged<T extends { readonly etag: string }>(reply: FastifyReply, document: T): T {
  reply.header('ETag', `"${document.etag}"`)
  return document
}
