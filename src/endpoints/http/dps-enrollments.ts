import type { FastifyInstance } from 'fastify'
import type { Enrollments } from '../../provisioning/provisioning.ts'
import {
  asDps,
  type DpsFaceNeeds,
  dpsRoute,
  type ItemType,
  idMissing,
  ifMatch,
  jsonBody,
  pageRequest,
  segment,
  sendPage,
  serviceCall,
} from './dps-request.ts'
import type { Routes } from './server.ts'

/** Individual enrollments and enrollment groups (dps.md 6.2). */
export const dpsEnrollments =
  (needs: DpsFaceNeeds): Routes =>
  (app) => {
    const { enrollments, enrollmentGroups } = needs.provisioning
    asDps(app, needs)
    routesOf(app, needs, { path: '/enrollments', noun: 'registrationId', itemType: 'Enrollment', records: enrollments })
    routesOf(app, needs, {
      path: '/enrollmentGroups',
      noun: 'enrollmentGroupId',
      itemType: 'EnrollmentGroup',
      records: enrollmentGroups,
    })
  }

interface Kind {
  readonly path: string
  readonly noun: string
  readonly itemType: ItemType
  readonly records: Enrollments
}

function routesOf(app: FastifyInstance, needs: DpsFaceNeeds, { path, noun, itemType, records }: Kind): void {
  app.get(`${path}/:id`, async (request) => {
    const { service, apiVersion } = await serviceCall(needs, request, 'EnrollmentRead')
    return records.get(service, segment(request, 'id'), apiVersion)
  })

  app.put(`${path}/:id`, dpsRoute, async (request) => {
    const { caller, service, apiVersion } = await serviceCall(needs, request, 'EnrollmentWrite')
    const options = { ifMatch: ifMatch(request), apiVersion }
    return records.put(caller, service, segment(request, 'id'), jsonBody(request), options)
  })

  app.delete(`${path}/:id`, dpsRoute, async (request, reply) => {
    const { caller, service } = await serviceCall(needs, request, 'EnrollmentWrite')
    await records.remove(caller, service, segment(request, 'id'), ifMatch(request))
    return reply.code(204).send()
  })

  app.post(`${path}/:id/attestationmechanism`, dpsRoute, async (request) => {
    const { service } = await serviceCall(needs, request, 'EnrollmentRead')
    return records.attestationMechanism(service, segment(request, 'id'))
  })

  app.post(`${path}/query`, dpsRoute, async (request, reply) => {
    const { service, apiVersion } = await serviceCall(needs, request, 'EnrollmentRead')
    const page = pageRequest(request)
    return sendPage(reply, itemType, page, await records.query(service, jsonBody(request), page, apiVersion))
  })

  app.post(path, dpsRoute, async (request) => {
    const { caller, service, apiVersion } = await serviceCall(needs, request, 'EnrollmentWrite')
    return records.bulk(caller, service, jsonBody(request), apiVersion)
  })

  app.route({ method: ['GET', 'PUT', 'DELETE'], url: path, handler: idMissing(noun) })
}
