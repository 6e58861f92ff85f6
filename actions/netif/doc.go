// Package netif reads and changes the network interfaces of this machine by
// netlink: links, addresses, routes and neighbours.
//
// Net keeps a picture of links and addresses by the kernel's events. Every
// method may be called from any goroutine; those that read the picture take
// microseconds. Add and Remove return when the picture shows what they did.
//
// Addresses that flip plumbs carry its Mark and a lifetime, always: there is no
// call here that makes an address permanent or clears the mark. DESIGN.md
// beside this file says what is decided here, and why.
package netif
