import type { Collection, Queue, Schema } from './store.ts'

/** What a name of a collection, queue or index may be, so that it can stand in SQL between quotes. */
const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/
const PATH = /^\$(\.[A-Za-z0-9_$-]{1,64}(\[\d{1,3}\])?)+$/

/** A declared collection or queue as the SQLite adapter sees it. */
export interface Table {
  readonly kind: 'collection' | 'queue'
  /** As declared. */
  readonly label: string
  /** In SQL. */
  readonly name: string
  readonly indexes: ReadonlyMap<string, Member>
}

/** The member of a document that an index is on. */
export interface Member {
  readonly path: string
  /** Names of members and, for an item of a list, its number. */
  readonly steps: readonly (string | number)[]
  /** Queries must repeat this text exactly to be served by the index. */
  readonly sql: string
}

export interface Catalog {
  readonly tables: readonly Table[]
  /** Throws TypeError for one that the schema does not declare. */
  find(of: Collection<unknown> | Queue<unknown>): Table
}

/** Throws when the schema cannot be kept: it is part of the program, so this is a mistake in it. */
export function createCatalog(schema: Schema): Catalog {
  const declared = [...schema.collections, ...schema.queues]
  const byDeclaration = new Map(declared.map((each) => [each, tableOf(each)]))
  const byName = new Map<string, Table>()
  for (const table of byDeclaration.values()) {
    const name = table.name.toLowerCase() // SQLite's names know no case
    if (byName.has(name)) throw new Error(`The schema declares ${table.label} twice.`)
    byName.set(name, table)
  }
  return {
    tables: [...byName.values()],
    find(of) {
      const table = byDeclaration.get(of) ?? byName.get(nameOf(of).toLowerCase())
      if (table === undefined) throw new TypeError(`The schema of this store does not declare ${of.name}.`)
      return table
    },
  }
}

const kindOf = (of: Collection<unknown> | Queue<unknown>): Table['kind'] => ('indexes' in of ? 'collection' : 'queue')

const nameOf = (of: Collection<unknown> | Queue<unknown>): string => `${kindOf(of)[0]}_${of.name}`

function tableOf(of: Collection<unknown> | Queue<unknown>): Table {
  const kind = kindOf(of)
  requireName(kind, of.name)
  const indexes = 'indexes' in of ? Object.entries(of.indexes) : []
  return {
    kind,
    label: of.name,
    name: nameOf(of),
    indexes: new Map(indexes.map(([name, path]) => [name, member(name, path)])),
  }
}

function member(index: string, path: string): Member {
  requireName('index', index)
  if (!PATH.test(path))
    throw new Error(`The index ${index} has the path ${path}; it must look like $.member.member[0].`)
  const steps = Array.from(path.matchAll(/\.([^.[]+)|\[(\d+)\]/g), ([, name, item]) => name ?? Number(item))
  const inSql = steps.map((step) => (typeof step === 'string' ? `."${step}"` : `[${step}]`)).join('')
  return { path, steps, sql: `json_extract(value, '$${inSql}')` }
}

function requireName(kind: string, text: string): void {
  if (!NAME.test(text)) throw new Error(`The ${kind} name ${JSON.stringify(text)} must match ${NAME.source}.`)
}

/** The value of a document's member; undefined where the document has none. */
export function memberOf({ steps }: Member, document: unknown): unknown {
  let value = document
  for (const step of steps) {
    if (typeof value !== 'object' || value === null) return undefined
    if (typeof step === 'number' && !Array.isArray(value)) return undefined
    value = (value as Record<string | number, unknown>)[step]
  }
  return value
}
