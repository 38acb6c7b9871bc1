/** Type tokens, as state files in the field have them. */

/** Of a dynamic resource. */
export const dynamicType = (kind: string): string => `pulumi-nodejs:dynamic/ringfence:${kind}`;

/** Of a component. */
export const componentType = (kind: string): string => `ringfence:index:${kind}`;
