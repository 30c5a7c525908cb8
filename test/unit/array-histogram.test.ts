import fc from 'fast-check';
import { Histogram, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { ArrayHistogram } from '../../src/observability/array-histogram.ts';

const OPTIONS = { name: 'confidence', help: 'How sure the model is.', buckets: [0.25, 0.5, 0.9, 0.99, 1] };

function setUp() {
  const registries = [new Registry(), new Registry()];
  const [own, reference] = registries;
  const arrays = new ArrayHistogram({ ...OPTIONS, registers: [own] });
  const values = new Histogram({ ...OPTIONS, registers: [reference] });
  return {
    registries,
    observeAll(array: Float32Array) {
      arrays.observeAll(array);
      for (const value of array) if (!Number.isNaN(value)) values.observe(value);
    },
    exposed: () => own.metrics(),
    expected: () => reference.metrics(),
    asJson: () => Promise.all(registries.map((registry) => registry.getMetricsAsJSON())),
  };
}

/** The bounds themselves among them, which belong to their bucket. */
const value = fc.oneof(
  fc.float({ min: -1, max: 2, noNaN: true }),
  fc.constantFrom(...OPTIONS.buckets),
  fc.constant(Number.NaN),
);

describe('a histogram of arrays', () => {
  it("exposes exactly what prom-client's own does for the same values, in any number of arrays", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(value)), async (arrays) => {
        const { observeAll, exposed, expected } = setUp();
        for (const array of arrays) observeAll(Float32Array.from(array));
        expect(await exposed()).toBe(await expected());
      }),
    );
  });

  it('exposes zeros before the first value, as a rate needs a beginning', async () => {
    const { exposed, expected } = setUp();
    expect(await exposed()).toBe(await expected());
    expect(await exposed()).toContain('confidence_count 0');
  });

  it('passes over NaN, which a rejected product has as confidence', async () => {
    const { observeAll, exposed } = setUp();
    observeAll(Float32Array.of(Number.NaN, 0.5, Number.NaN));
    expect(await exposed()).toContain('confidence_count 1\n');
    expect(await exposed()).toContain('confidence_sum 0.5\n');
  });

  it('puts a value that is a bound into the bucket of that bound', async () => {
    const { observeAll, exposed } = setUp();
    observeAll(Float32Array.of(0.5));
    expect(await exposed()).toContain('confidence_bucket{le="0.25"} 0\n');
    expect(await exposed()).toContain('confidence_bucket{le="0.5"} 1\n');
  });

  it("carries the registry's default labels, as every other metric does", async () => {
    const { registries, observeAll, exposed, expected } = setUp();
    for (const registry of registries) registry.setDefaultLabels({ shop: 'north' });
    observeAll(Float32Array.of(0.3, 1));
    expect(await exposed()).toBe(await expected());
    expect(await exposed()).toContain('confidence_count{shop="north"} 2\n');
  });

  it('is the same as JSON too, but for the exemplars that it has not', async () => {
    const { observeAll, asJson } = setUp();
    observeAll(Float32Array.of(0.3, 0.95, 3));
    const [own, reference] = await asJson();
    expect(own).not.toEqual([]);
    expect(reference).toMatchObject(own);
  });
});
