/**
 * A failed job carries its code in BullMQ's `failedReason`, as `CODE: sentence`; BullMQ's own reasons (a job that
 * stalled too often) have no code.
 */
export function failedReasonOf(code: string, message: string): string {
  return `${code}: ${message}`;
}

export function parseFailedReason(reason: string): { code: string; message: string } {
  const parts = /^([A-Z][A-Z_]+): (.*)$/s.exec(reason);
  if (parts) return { code: parts[1], message: parts[2] };
  return { code: reason.includes('stalled') ? 'STALLED' : 'UNKNOWN', message: reason };
}
