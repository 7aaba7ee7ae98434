import { describe, test } from 'vitest'
import type { Schema, Store } from './store.ts'
import { boundRules } from './store-bounds.contract.ts'
import { commitRules, documentRules } from './store-documents.contract.ts'
import { contractSchema, type Rule } from './store-fixtures.contract.ts'
import { leaseRules, logRules } from './store-logs.contract.ts'
import { modelRules } from './store-model.contract.ts'
import { queueRules } from './store-queues.contract.ts'
import { rangeRules } from './store-ranges.contract.ts'

/**
 * What the port promises: every adapter runs these on stores that `open` makes, new and empty, and closes when the test
 * ends. One that cannot keep a rule says which and why.
 */
export function storeContract(
  adapter: string,
  open: (schema: Schema) => Promise<Store>,
  cannot: Readonly<Record<string, string>> = {},
): void {
  const rule: Rule = (name, run) =>
    test.skipIf(cannot[name] !== undefined)(name, async () => run(await open(contractSchema)))
  describe(`${adapter}: documents`, () => documentRules(rule))
  describe(`${adapter}: all or nothing`, () => commitRules(rule))
  describe(`${adapter}: ranges and pages`, () => rangeRules(rule))
  describe(`${adapter}: queues`, () => queueRules(rule))
  describe(`${adapter}: logs`, () => logRules(rule))
  describe(`${adapter}: leases`, () => leaseRules(rule))
  describe(`${adapter}: bounds`, () => boundRules(rule))
  describe(`${adapter}: against a model`, () => modelRules(rule))
}
