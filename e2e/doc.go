// Package e2e tests flip as a black box: it drives the binary, by processes,
// signals and its command line, and the real network and disk of this machine.
package e2e
