// The shipped model as a plain script would load it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MODEL = new URL('../model/', import.meta.url);

export async function loadModel() {
  process.env.ORT_DISABLE_TELEMETRY = '1';
  const { InferenceSession, Tensor } = await import('onnxruntime-node');
  /** @type {{ width: number, categories: { code: string, name: string }[] }} */
  const { width, categories } = JSON.parse(readFileSync(new URL('manifest.json', MODEL), 'utf8'));
  const session = await InferenceSession.create(fileURLToPath(new URL('model.onnx', MODEL)), { intraOpNumThreads: 1 });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return {
    width,
    categories,
    /** @param {Float32Array} values @param {number} rows @returns {Promise<Float32Array>} */
    async run(values, rows) {
      const outputs = await session.run({ [input]: new Tensor('float32', values, [rows, width]) });
      return /** @type {Float32Array} */ (outputs[output].data);
    },
  };
}
