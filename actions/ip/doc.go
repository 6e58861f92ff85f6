// Package ip is the Driver of "action": "ip": it plumbs an item's addresses,
// announces them, keeps them as they should be for as long as they are held, and
// says when they cannot be held here.
//
// Calls for hundreds of items at the same time become one gate transaction, one
// netlink batch and one round of announcements. DESIGN.md beside this file says
// what is decided here, and why.
package ip
