// Package lab builds a small network out of named network namespaces: hosts
// with a leg in a service network and one in a cluster network, the two bridges
// in a namespace of their own, a client outside. Nothing of it touches the
// machine's own network.
//
// Faults are real: a cable cut takes carrier away, a silent cut does not; each
// cut is seen to cut before it counts, each heal to heal.
package lab
