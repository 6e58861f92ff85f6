// Package gate closes an address when the lease behind it ends, in the kernel
// and whatever happens to the daemon: two nf_tables tables of flip's own drop
// every packet to or from the addresses of at-most-one systems unless a lease
// element, which the kernel itself expires, is alive.
//
// Gate holds the tables; Keeper opens and renews while the lease runs. What the
// parts may rely on:
//
//   - An address is added before it is plumbed and removed after it is gone.
//   - The gate never outlives the lease it was renewed with, neither when the
//     process is killed or stopped at any instruction, nor when a renewal is
//     late: it is then refused whole.
//   - It starts shut, and nothing but Renew opens it.
//
// A Gate works on the network namespace of the thread that calls Open; all its
// methods may be called from any goroutine.
package gate
