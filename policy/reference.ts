/**
 * What docs/policies.md says, from the policies' own metadata.
 *
 *   node dev/bootstrap.js policy/reference.ts > docs/policies.md
 */
import { policies } from "./policies.ts";

const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;

const introduction = `# The policy pack

Generated from the policies' metadata by \`policy/reference.ts\`; a test keeps it current.

${policies.length} policies for any stack that runs inference pipelines on a shared etcd, NATS and Kubernetes, whether Ringfence
made it or not. They judge Ringfence's own resources, raw Kubernetes objects, and what ConfigGroups and Helm charts make.

    pulumi preview --policy-pack policy                      # or up; from a checkout
    pulumi policy analyze --policy-pack policy --stack prod  # what exists already
    npm run build:policy && pulumi -C dist/policy policy publish

All are stack policies: they run at the end of a preview and of an up, and not on destroy. A preview judges what it knows.
What it does not know yet counts for nobody, so run \`up\` with the pack, too: physical names are outputs.

A violation is one line: resource and property path, what was found, the fix. Packs see secrets in plain text; this one
prints no value that looks like a credential, and none of those that it looks for.

What it cannot see: the options \`retainOnDelete\` and \`deletedWith\` (Ringfence's resources refuse them), the objects of a
Helm \`Release\` (only its values), and what an operator makes of its resources.

## Levels and parameters

An \`advisory\` violation is printed, a \`mandatory\` one stops the preview or the update. A file for each environment changes
levels and sets parameters; the engine holds it against each policy's schema:

    $ cat prod.policies.json
    {
      "restart-safety": { "enforcementLevel": "mandatory", "graceMarginSeconds": 120 },
      "gpu-scheduling": { "pools": { "NVIDIA-H100-80GB-HBM3": { "perNode": 8, "total": 64 } } },
      "dynamo-namespaces": "advisory"
    }
    $ pulumi preview --stack prod --policy-pack policy --policy-pack-config prod.policies.json

A published pack takes the same from its policy group.
`;

/** The whole page. */
export function reference(): string {
  const rows = policies.map(
    ({ name, displayName, enforcementLevel, severity }) =>
      `| [${name}](#${name}) | ${displayName} | ${enforcementLevel} | ${severity} |`,
  );
  const overview = ["| policy | | level | severity |", "|---|---|---|---|", ...rows].join("\n");
  const sections = policies.map(({ name, description, remediationSteps, configSchema }) => {
    const parameters = Object.entries(configSchema?.properties ?? {}).map(
      ([parameter, schema]) => `| \`${parameter}\` | ${schema.description} | ${code(schema.default)} |`,
    );
    const table = ["| parameter | | default |", "|---|---|---|", ...parameters].join("\n");
    return [`## ${name}`, description, `**Fix.** ${remediationSteps}`, ...(parameters.length > 0 ? [table] : [])].join(
      "\n\n",
    );
  });
  return `${[introduction, overview, ...sections].join("\n")}\n`
    .replaceAll(/\n## /g, "\n\n## ")
    .replaceAll(/\n{3,}/g, "\n\n");
}

if (import.meta.main) process.stdout.write(reference());
