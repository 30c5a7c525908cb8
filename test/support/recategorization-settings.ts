import type { RunSettings } from '../../src/domain/run.ts';

/** Settings that hold nothing back: three products in a slice, review below 0.5, no statement of the ERP's. */
export function runSettings(changes: Partial<RunSettings> = {}): RunSettings {
  return {
    source: { table: 'erp.products', idColumn: 'product_id', featureColumns: ['features'] },
    full: false,
    dryRun: false,
    maxChangeRatio: 1,
    maxRejectRatio: 1,
    minProducts: 0,
    reviewBelow: 0.5,
    sliceSize: 3,
    maxPendingMiB: 64,
    ...changes,
  };
}
