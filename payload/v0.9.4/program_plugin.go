//go:build plugin

// Command whereabouts is the CNI plugin.
//
// It has the sources of the controllers beside it, which the tag `plugin` leaves out, so that tests run all of them on one
// cluster. It does not import what only they need: before it comes to its work, a call has to set up each package that is
// linked, and client-go's clientsets took half of its CPU time for that.
package main

func main() { plugin() }
