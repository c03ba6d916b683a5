// Checks custom resources in rendered charts against their definitions: node check_crds.mjs MODULES FILE…
// MODULES: a folder in which npm has installed @kubernetes-models/keda, @kubernetes-models/prometheus-operator and yaml.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const yaml = require("yaml");
const packages = `${modules}/node_modules/@kubernetes-models`;
const keda = await import(`${packages}/keda/index.mjs`);
const operator = await import(`${packages}/prometheus-operator/index.js`);
const kinds = { ...keda.kedaSh.v1alpha1, ...operator.monitoringCoreosCom.v1 };
let checked = 0;
let failed = 0;
for (const file of files) {
  for (const document of yaml.parseAllDocuments(readFileSync(file, "utf8"), { merge: true })) {
    const resource = document.toJS();
    if (!/^(keda\.sh|monitoring\.coreos\.com)\//.test(resource?.apiVersion ?? "")) continue;
    checked += 1;
    try {
      new kinds[resource.kind](resource).validate();
    } catch (error) {
      failed += 1;
      console.error(`${file}: ${resource.kind} ${resource.metadata.name}: ${error.message}`);
    }
  }
}
console.log(`${checked} custom resources, ${failed} wrong`);
process.exit(failed || !checked ? 1 : 0);
