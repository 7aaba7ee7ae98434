import { ServiceError } from '../base/errors.ts'
import { shown } from './ids.ts'

const API_VERSION = /^\d{4}-\d{2}-\d{2}(-preview)?$/

export const isApiVersion = (text: string): boolean => API_VERSION.test(text)

/**
 * Any date that looks like a version is one: clients of many years call, and a version is a feature switch only
 * (dps.md 1.2, 6.1). Throws 400 for none and for anything else.
 */
export function requireApiVersion(value: string | undefined): string {
  if (value !== undefined && isApiVersion(value)) return value
  throw new ServiceError(
    400001,
    `The query must carry api-version=YYYY-MM-DD or YYYY-MM-DD-preview, such as 2021-10-01; found ${value === undefined ? 'none' : shown(value)}.`,
  )
}

/** Whether `apiVersion` is `since` or later; previews count as their date. */
export const isSince = (apiVersion: string, since: string): boolean => apiVersion.slice(0, 10) >= since
