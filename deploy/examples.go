// Package deploy carries what is installed beside the program: example
// configurations, each parsed by a test.
package deploy

import _ "embed"

// ReadmeSample is the sample of Flip's README, byte for byte. It must keep
// running as it stands, and `flip demo` runs it.
//
//go:embed examples/readme/flip.json
var ReadmeSample []byte
