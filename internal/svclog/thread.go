// This file holds the number by which the lines of one request are found.

package svclog

import "go.uber.org/zap"

// threads is the number of different thread numbers.
const threads = 99999

// Thread returns the number that stands in <NN> on all lines of one request: a
// hash of its id, from 1 to 99999, and 0 without an id. Veeam prints a managed
// thread there, which need not be the same on a request and its response; here
// the pair always shares the number, and two requests at the same time share
// one only by chance.
func Thread(requestID string) uint32 {
	if requestID == "" {
		return 0
	}
	hash := uint32(2166136261) // FNV-1a
	for i := range len(requestID) {
		hash ^= uint32(requestID[i])
		hash *= 16777619
	}
	return hash%threads + 1
}

// ThreadKey is the key of the field that carries the thread of a sentence.
const ThreadKey = "thread"

// ThreadField puts a sentence on the thread of the request it belongs to.
func ThreadField(thread uint32) zap.Field { return zap.Uint32(ThreadKey, thread) }
