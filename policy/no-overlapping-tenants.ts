import type { ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import { logicalNameProblem, overlap, prefixProblem } from "../components/plan/names.ts";
import { ETCD_PREFIX, type Known, ofType, type Placed, placed, TENANT_CLAIM } from "./stack/ringfence.ts";
import { schemaOf } from "./stack/settings.ts";
import { tell } from "./stack/verdict.ts";

/**
 * No tenant's logical name or etcd prefix may lie within another's on the same platform, nor hold the root or a reserved
 * path. Logical names are plain inputs, so a preview judges them already; prefixes are known once `up` has made them.
 */
export const noOverlappingTenants: StackValidationPolicy = {
  name: "no-overlapping-tenants",
  displayName: "No overlapping tenants",
  description:
    "No two tenants' logical names or etcd prefixes overlap; root, reserved and slash-less ones are refused.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps:
    "Give each pipeline a realm and name of its own, neither of which holds another's, and leave prefixes to Ringfence: " +
    "every EtcdPrefix takes the prefix and generation of its own TenantClaim.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    const claims = ofType(resources, TENANT_CLAIM, PROPERTIES);
    const grants = ofType(resources, ETCD_PREFIX, PROPERTIES);
    for (const part of [...claims, ...grants]) refuseUnfit(part, report);
    refuseOverlaps(logicalNames(placed(claims)), report);
    refuseOverlaps(prefixes(placed([...claims, ...grants])), report);
    refuseStray(placed(grants), placed(claims), report);
  },
};

type Property = "platform" | "logicalName" | "generation" | "prefix";
const PROPERTIES: Property[] = ["platform", "logicalName", "generation", "prefix"];

/** A path that a tenant's claim or EtcdPrefix holds; it ends in a slash, so that sorting keeps what lies within it together. */
interface Holding {
  part: Placed<Known<Property>>;
  property: "logicalName" | "prefix";
  path: string;
  /** Holdings of one holder may overlap: a tenant's claim and its EtcdPrefix share the prefix. */
  holder: string;
}

function refuseUnfit({ name, urn, logicalName, prefix }: Known<Property>, report: ReportViolation): void {
  const nameProblem = logicalName === undefined ? undefined : logicalNameProblem(logicalName);
  if (nameProblem) {
    const problem = `'${logicalName}' ${nameProblem}`;
    tell(report, {
      resource: { name, urn },
      path: ["logicalName"],
      problem,
      fix: "name the tenant '<realm>/<pipeline>'",
    });
  }
  const pathProblem = prefix === undefined ? undefined : prefixProblem(prefix);
  if (pathProblem) {
    const problem = `'${prefix}' ${pathProblem}`;
    tell(report, {
      resource: { name, urn },
      path: ["prefix"],
      problem,
      fix: "use the prefix that the tenant's claim hands out",
    });
  }
}

/** Each claim holds its name alone, so two claims of one name overlap. Unfit names have their verdict already. */
const logicalNames = (claims: Holding["part"][]): Holding[] =>
  claims
    .filter((part) => !logicalNameProblem(part.logicalName))
    .map((part) => ({ part, property: "logicalName", path: `${part.logicalName}/`, holder: part.urn }));

const prefixes = (parts: Holding["part"][]): Holding[] =>
  parts.flatMap((part) => {
    if (part.prefix === undefined || prefixProblem(part.prefix)) return [];
    return [{ part, property: "prefix", path: part.prefix, holder: part.tenant }];
  });

function refuseOverlaps(holdings: Holding[], report: ReportViolation): void {
  for (const [platform, neighbours] of Map.groupBy(holdings, ({ part }) => part.platform)) {
    for (const [{ part, property }, outer] of overlaps(neighbours)) {
      tell(report, {
        resource: part,
        path: [property],
        problem: `'${part[property]}' overlaps '${outer.part[property]}' of '${outer.part.name}' on platform '${platform}'`,
        fix: `give one of the two tenants another ${property === "prefix" ? "prefix" : "realm or name"}`,
      });
    }
  }
}

/** Each holding that lies within another holder's, with the nearest such. Sorted rather than paired: stacks get large. */
function overlaps(holdings: Holding[]): [inner: Holding, outer: Holding][] {
  const found: [Holding, Holding][] = [];
  const enclosing: { holding: Holding; foreign: Holding | undefined }[] = [];
  for (const holding of holdings.toSorted((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)))) {
    let nearest = enclosing.at(-1);
    while (nearest && !overlap(nearest.holding.path, holding.path)) {
      enclosing.pop();
      nearest = enclosing.at(-1);
    }
    const foreign = nearest?.holding.holder === holding.holder ? nearest.foreign : nearest?.holding;
    if (foreign) found.push([holding, foreign]);
    enclosing.push({ holding, foreign });
  }
  return found;
}

/** An EtcdPrefix opens a prefix to a user: it must be the one that the tenant's claim holds now. */
function refuseStray(grants: Holding["part"][], claims: Holding["part"][], report: ReportViolation): void {
  const claimsOf = Map.groupBy(claims, (claim) => claim.tenant);
  for (const grant of grants) {
    const [claim, ...twins] = claimsOf.get(grant.tenant) ?? [];
    if (!claim) continue;
    const property = (["prefix", "generation"] as const).find((one) =>
      [claim, ...twins].every((own) => grant[one] !== undefined && own[one] !== undefined && grant[one] !== own[one]),
    );
    if (!property) continue;
    tell(report, {
      resource: grant,
      path: [property],
      problem: `'${grant[property]}' is not '${claim[property]}', which '${claim.name}' claims for ${grant.tenant}`,
      fix: `take the ${property} from the claim`,
    });
  }
}
