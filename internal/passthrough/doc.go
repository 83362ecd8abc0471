// Package passthrough serves clients that log in with their own Veeam credentials
// (option passthrough). It logs them in at the server, limits wrong passwords and codes,
// remembers who is logged in, and turns refusals of the server into answers for them.
package passthrough
