// Package udp is the sockets around package liveness: it owns the one Process
// of a daemon, gives it the time and the datagrams that came, and sends what it
// wants sent, sealed by the cluster's key.
//
// Everything that the rules of leases and votes depend on is decided in package
// liveness. What happens here can lose or delay a message, which those rules
// bear, and may never do more than that.
package udp
