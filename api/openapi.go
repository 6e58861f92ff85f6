package api

import _ "embed"

// PathOpenAPI is on the unix socket: this API in the form that tools read.
const PathOpenAPI = "/v1/openapi.json"

// OpenAPI is the OpenAPI 3.1 document of the unix socket's side. Tests make it from
// the types of this package and hold the server's answers against it.
//
//go:embed openapi.json
var OpenAPI []byte
