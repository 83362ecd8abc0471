// Package svclog writes and reads the log lines of Veeam's REST services, known from
// Svc.ResAPI.log, and masks all secrets in them.
//
// A line consists of a frame and a message:
//
//	[03.10.2022 11:48:31.999] <36> Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: […]; Parameters: […; ].
//	[03.10.2022 11:48:32.072] <36> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied", … }
//	[03.10.2022 11:48:32.071] <36> Error        Login failed for user 'benyoung'.
//
// Requests and responses are fields of zap (RequestField, ResponseField), which are
// masked by any encoder; Renderer formats them as lines. Sentences such as LoginFailed
// are ordinary messages. The Mask functions can be used separately. Read and Follower
// parse a file, whether this package or Veeam wrote it.
//
// The package depends on the standard library and zap only.
package svclog
