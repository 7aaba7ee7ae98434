import { isObject, type Json } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { refused, usage } from './environment.ts'

/** `--query`: JMESPath, applied to the answer before it is written, as the az CLI does. */

/** Literals without their quotes, [?status==`enabled`], which the az CLI's library takes and its users write. */
const LENIENT = { enable_legacy_literals: true }

/** Refuses an expression that is none, before anything is sent. */
export async function checkQuery(expression: string): Promise<void> {
  if (expression.length > limits.cliQueryLength)
    throw usage(
      `Expected --query of at most ${limits.cliQueryLength} characters, found ${expression.length}. Filter the JSON with a program of your own.`,
    )
  const { compile } = await import('@jmespath-community/jmespath')
  try {
    compile(expression, LENIENT)
  } catch (cause) {
    throw usage(
      `Expected --query to be a JMESPath expression (as in [].deviceId), found ${JSON.stringify(expression)}: ${reasonOf(cause)}`,
      cause,
    )
  }
}

/**
 * What the expression selects of the answer; null when nothing.
 * @throws CommandError (refused) for a function that does not take what the answer holds
 */
export async function select(value: unknown, expression: string): Promise<unknown> {
  const { search } = await import('@jmespath-community/jmespath')
  try {
    return search(withoutPrototypes(value), expression, LENIENT)
  } catch (cause) {
    throw refused(`Expected --query ${JSON.stringify(expression)} to fit the answer, found ${reasonOf(cause)}`, cause)
  }
}

/** The library looks names up as JavaScript does: without this, "constructor" is a member of every object. */
function withoutPrototypes(value: unknown): Json {
  if (Array.isArray(value)) return value.map(withoutPrototypes)
  if (!isObject(value)) return value as Json
  const bare: { [name: string]: Json } = Object.create(null)
  for (const [name, member] of Object.entries(value)) bare[name] = withoutPrototypes(member)
  return bare
}

const reasonOf = (cause: unknown): string => {
  if (cause instanceof RangeError) return 'it is nested too deeply.'
  return cause instanceof Error ? cause.message : String(cause)
}
