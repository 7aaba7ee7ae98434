import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { Fields } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import type { Control, ImportTarget, Instance, LineRules, Owner } from '../../control/control.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Provisioning } from '../../provisioning/provisioning.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { iotHubsKind, provisioningServicesKind, required } from './management-instances.ts'
import { jsonOf, paramOf } from './management-request.ts'
import { bodyOf, queryOf, type Routes } from './server.ts'

export interface ManagementImportsNeeds extends ManagementGuard {
  readonly control: Control
  readonly hub: Hub
  readonly provisioning: Provisioning
}

/** What imports of one kind of instance need to know of it. */
interface Importing<V extends Instance> {
  readonly kind: Owner['kind']
  readonly segment: 'hubs' | 'provisioningServices'
  /** Kinds of import that it takes; the first is meant where none is named. */
  readonly kinds: readonly [string, ...string[]]
  find(request: FastifyRequest): Promise<V>
  rules(view: V, kind: string, mode: string): LineRules<unknown>
  exported(
    view: V,
    kind: string,
    page: ExportRequest,
  ): Promise<{ readonly lines: readonly object[]; readonly next?: string }>
}

interface ExportRequest {
  readonly after: string | undefined
  readonly keys: boolean
}

/** Ours, not Azure's: bulk imports line by line, and exports (docs/bulk.md). Bodies of lines are JSON lines. */
export const managementImports = (needs: ManagementImportsNeeds): Routes =>
  guarded(needs, (app) => {
    const { control, hub, provisioning } = needs
    importRoutes(app, control, {
      kind: 'hub',
      segment: 'hubs',
      kinds: ['devices'],
      find: (request) => required(iotHubsKind(control), request),
      exported: (view, _kind, page) => hub.registry.deviceExport(view, page),
      rules: (view, _kind, mode) => hub.registry.deviceImport(view, mode) as LineRules<unknown>,
    })
    const records = (kind: string) =>
      kind === 'enrollments' ? provisioning.enrollments : provisioning.enrollmentGroups
    importRoutes(app, control, {
      kind: 'dps',
      segment: 'provisioningServices',
      kinds: ['enrollments', 'enrollmentGroups'],
      find: (request) => required(provisioningServicesKind(control), request),
      exported: (view, kind, page) => records(kind).exportPage(view, page),
      rules: (view, kind, mode) => records(kind).importRules(view, mode) as LineRules<unknown>,
    })
  })

function importRoutes<V extends Instance>(app: FastifyInstance, control: Control, importing: Importing<V>): void {
  const { imports } = control
  const list = `/muster/${importing.segment}/:name/imports`
  const one = `${list}/:import`
  const targetOf = (view: V, id: string): ImportTarget => ({
    owner: { kind: importing.kind, name: view.name },
    presence: view.presence,
    id,
  })
  const located = async (request: FastifyRequest): Promise<{ view: V; target: ImportTarget }> => {
    const view = await importing.find(request)
    return { view, target: targetOf(view, paramOf(request, 'import')) }
  }
  const begun = async (request: FastifyRequest) => {
    const { view, target } = await located(request)
    const { kind, mode } = await imports.get(target)
    return { target, rules: importing.rules(view, kind, mode) }
  }
  const lines = { bodyLimit: limits.importBatchBytes }

  app.get(list, async (request) => ({ value: await imports.list(targetOf(await importing.find(request), '')) }))
  app.put(one, async (request) => {
    const { view, target } = await located(request)
    const { kind, mode } = readHow(jsonOf(request), importing.kinds)
    importing.rules(view, kind, mode) // refuses a mode that does not exist
    return imports.open(target, { kind, mode })
  })
  app.get(one, async (request) => imports.get((await located(request)).target))
  app.delete(one, async (request, reply) => {
    await imports.remove((await located(request)).target)
    return reply.code(204).send()
  })
  app.post(`${one}/lines`, lines, async (request) => {
    const { target, rules } = await begun(request)
    return imports.append(rules, target, countOf(request, 'from'), linesOf(request))
  })
  app.post(`${one}/finish`, async (request) => {
    const { target, rules } = await begun(request)
    return imports.finish(rules, target)
  })
  app.get(`${one}/failures`, async (request) =>
    imports.failures((await located(request)).target, countOf(request, 'after')),
  )
  app.get(`/muster/${importing.segment}/:name/exports/:kind`, async (request) => {
    const view = await importing.find(request)
    const { kind } = readHow({ kind: paramOf(request, 'kind') }, importing.kinds)
    const page = { after: queryOf(request, 'after') || undefined, keys: queryOf(request, 'keys') === 'true' }
    return importing.exported(view, kind, page).catch(refuseCursor)
  })
  // A dry run: what would become of these lines now.
  app.post(`/muster/${importing.segment}/:name/importChecks`, lines, async (request) => {
    const view = await importing.find(request)
    const given = { kind: queryOf(request, 'kind'), mode: queryOf(request, 'mode') }
    const { kind, mode } = readHow(given, importing.kinds)
    return imports.check(importing.rules(view, kind, mode), countOf(request, 'from'), linesOf(request))
  })
}

/** The store's complaint about a cursor that it did not give out. */
function refuseCursor(error: unknown): never {
  if (!(error instanceof RangeError)) throw error
  throw new ServiceError(400004, 'after must be "next" of the page before, found another text.', { cause: error })
}

/** Files of Azure mean `createOrUpdate` where they say nothing (hub-service.md 3.3). */
function readHow(body: unknown, kinds: Importing<Instance>['kinds']): { kind: string; mode: string } {
  const fields = new Fields(body ?? {}, 'import')
  return { kind: fields.oneOf('kind', kinds) ?? kinds[0], mode: fields.string('mode') || 'createOrUpdate' }
}

function countOf(request: FastifyRequest, name: 'from' | 'after'): number {
  const text = queryOf(request, name) ?? '0'
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new ServiceError(400004, `${name} must be a whole number from 0, found ${JSON.stringify(text.slice(0, 20))}.`)
}

function linesOf(request: FastifyRequest): readonly string[] {
  const body = bodyOf(request)
  if (!isUtf8(body)) throw new ServiceError(400004, 'The body must be JSON lines in UTF-8, found other bytes.')
  const lines = body.toString('utf8').split('\n')
  if (lines.at(-1) === '') lines.pop()
  if (lines.length >= 1 && lines.length <= limits.importBatchLines) return lines
  throw new ServiceError(
    400004,
    `The body must be 1 to ${limits.importBatchLines} lines, found ${lines.length}. Send the rest with the next request.`,
  )
}
