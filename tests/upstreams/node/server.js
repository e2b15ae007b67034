// A server of grpc-js, as an upstream of the gateway in tests. It serves the methods below and prints its port.

import { Server, ServerCredentials } from "@grpc/grpc-js";

const TICK = Buffer.from("tick");

/** Sends one message each 50 ms, without an end. */
function tick(call) {
  call.write(TICK);
  const timer = setInterval(() => call.write(TICK), 50);
  call.on("cancelled", () => clearInterval(timer));
}

/** Sends one message when the request has ended. */
function collect(call, respond) {
  let isCancelled = false;
  call.on("cancelled", () => (isCancelled = true));
  call.on("data", () => {});
  call.on("error", () => {});
  call.on("end", () => isCancelled || respond(null, TICK));
}

function method(name, requestStream, responseStream) {
  const bytes = (message) => message;
  return {
    path: `/acme.v1.Shop/${name}`,
    requestStream,
    responseStream,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

const server = new Server();
server.addService(
  { Tick: method("Tick", false, true), Hang: method("Hang", false, false), Collect: method("Collect", true, false) },
  { Tick: tick, Hang: () => {}, Collect: collect },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(port);
});
