// The README's JavaScript, on a raw RGBA picture in Node: node segment.mjs MODEL.onnx MODEL.json PICTURE.rgba > labels
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [model, description, picture] = process.argv.slice(2);
const session = await ort.InferenceSession.create(readFileSync(model));
const info = JSON.parse(readFileSync(description));
const [height, width] = info.training_size;
const rgba = readFileSync(picture); // in the browser: context.getImageData(0, 0, width, height).data
const rgb = Uint8Array.from(rgba.filter((_, i) => i % 4 < 3));
const image = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
const { labels, confidence } = await session.run({ image });
console.error(`${info.names[labels.data[0]]} ${confidence.data[0]}`);
process.stdout.write(labels.data);
