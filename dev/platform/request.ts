/** One HTTP request to a server of the platform: booting needs no client library, and `fetch` takes no authority of ours. */
import * as http from "node:http";
import * as https from "node:https";

export interface Answer {
  status: number;
  /** Parsed when it is JSON, else the text. */
  body: unknown;
}

/** @throws when nobody answers in time; the message says why, not whom */
export function httpRequest(
  url: string,
  options: Pick<https.RequestOptions, "method" | "ca" | "cert" | "key"> & {
    headers?: http.OutgoingHttpHeaders;
    body?: object | undefined;
    /** Seconds. */
    within: number;
  },
): Promise<Answer> {
  const { body, within, headers = {}, ...rest } = options;
  const text = body && JSON.stringify(body);
  // Node.js sends a DELETE's body without a word on its length, and the server takes it for the next request.
  const length = text === undefined ? {} : { "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const { request } = url.startsWith("https:") ? https : http;
    const sent = request(
      url,
      { ...rest, headers: { ...headers, ...length }, signal: AbortSignal.timeout(within * 1000) },
      async (response) => {
        try {
          const text = Buffer.concat(await response.toArray()).toString();
          const json = response.headers["content-type"]?.includes("json") ?? false;
          resolve({ status: response.statusCode ?? 0, body: json ? JSON.parse(text) : text });
        } catch (error) {
          reject(error);
        }
      },
    );
    sent.on("error", reject);
    sent.end(text);
  });
}
