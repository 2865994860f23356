// Let Transformers.js answer in headless Chromium. Arguments: the folder of the bundles, and what is asked, in JSON.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import packed from "@sparticuz/chromium";
import { chromium } from "playwright-core";

const [root, asked] = [process.argv[2], JSON.parse(process.argv[3])];
const types = { ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const imports = {
  "@huggingface/transformers": "/node_modules/@huggingface/transformers/dist/transformers.web.js",
  "onnxruntime-web/webgpu": "/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs",
  "onnxruntime-common": "/node_modules/onnxruntime-common/dist/esm/index.js",
};
const page = `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script>`;

const server = createServer(async (request, answer) => {
  const path = decodeURIComponent(request.url.split("?")[0]);
  if (path === "/") {
    answer.setHeader("content-type", "text/html");
    return answer.end(page);
  }
  const file = path.startsWith("/models/") ? join(root, path.slice("/models/".length)) : join(process.cwd(), path);
  try {
    const body = await readFile(file);
    answer.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
    answer.end(body);
  } catch {
    answer.statusCode = 404;
    answer.end();
  }
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.on("listening", ready));

const options = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const browser = await chromium.launch({ executablePath: await packed.executablePath(), args: [...packed.args, ...options] });
const tab = await browser.newPage();
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
const said = await tab.evaluate(async (asked) => {
  const hf = await import("@huggingface/transformers");
  hf.env.localModelPath = "/models/";
  hf.env.allowRemoteModels = false;
  hf.env.allowLocalModels = true;
  hf.env.useBrowserCache = false;
  hf.env.backends.onnx.wasm.wasmPaths = `${location.origin}/node_modules/onnxruntime-web/dist/`;
  hf.env.backends.onnx.wasm.numThreads = 1;
  const said = [];
  for (const { name, model, dtype, device, texts, pairs } of asked) {
    if (device === "webgpu" && !(await navigator.gpu?.requestAdapter())) {
      said.push(null);
      continue;
    }
    const tokenizer = await hf.AutoTokenizer.from_pretrained(name);
    const loaded = await hf[model].from_pretrained(name, { device, ...(dtype ? { dtype } : {}) });
    const answers = await loaded(await tokenizer(texts, { padding: true, ...(pairs ? { text_pair: pairs } : {}) }));
    said.push(Object.fromEntries(Object.entries(answers).filter(([, tensor]) => tensor?.tolist).map(([name, tensor]) => [name, tensor.tolist()])));
  }
  return said;
}, asked);
console.log(JSON.stringify(said));
await browser.close();
server.close();
