// Let Transformers.js, or onnxruntime-web alone, answer in node. Arguments: the folder of the bundles, and what is asked, in JSON.
import { readFile } from "node:fs/promises";
import * as hf from "@huggingface/transformers";

const [root, asked] = [process.argv[2], JSON.parse(process.argv[3])];
hf.env.localModelPath = root;
hf.env.allowRemoteModels = false;

function listed(answers) {
  return Object.fromEntries(Object.entries(answers).filter(([, tensor]) => tensor?.dims).map(([name, tensor]) => [name, nested(tensor)]));
}

function nested({ dims, data }) {
  const fold = (at, depth) => {
    if (depth === dims.length) return Number(data[at]);
    const stride = dims.slice(depth + 1).reduce((product, size) => product * size, 1);
    return Array.from({ length: dims[depth] }, (_, index) => fold(at + index * stride, depth + 1));
  };
  return fold(0, 0);
}

async function inWeb(file, batch) {
  const ort = await import("onnxruntime-web");
  const session = await ort.InferenceSession.create(await readFile(file), { executionProviders: ["wasm"] });
  const given = Object.fromEntries(session.inputNames.map((name) => [name, new ort.Tensor("int64", batch[name].data, batch[name].dims)]));
  return session.run(given);
}

const said = [];
for (const { name, model, dtype, file, texts, pairs } of asked) {
  const tokenizer = await hf.AutoTokenizer.from_pretrained(name);
  const batch = await tokenizer(texts, { padding: true, ...(pairs ? { text_pair: pairs } : {}) });
  const run = file ? (inputs) => inWeb(`${root}/${name}/${file}`, inputs) : await hf[model].from_pretrained(name, { dtype, device: "cpu" });
  said.push(listed(await run(batch)));
}
console.log(JSON.stringify(said));
