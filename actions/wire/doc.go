// Package wire speaks ARP and neighbour discovery: it announces addresses,
// tells single hosts, and asks who has an address.
//
// A Wire is safe for use from any goroutine. It opens its sockets on first use,
// in the network namespace of the thread that called New, and starts no
// goroutine that outlives the call that needed it. It knows no lease: whoever
// announces hands in a permit, which is asked right before each frame, since an
// AF_PACKET socket bypasses every firewall rule, the lease gate's too. What must
// never happen is a frame that claims an address and was not permitted.
package wire
