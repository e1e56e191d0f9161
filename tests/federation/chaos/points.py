"""Where programs die: the points of a run of four rounds with two nodes, in the order in which they come."""

from tests.federation.chaos.killing import Kill

ROUNDS = 4

# A server calls this for its query, then for the steps of its first round.
_SUBMIT = "fedmx.link.server:LinkServer.submit"
# A server calls this only for the requests that its nodes do not have from the server before it.
_FRAMES = "fedmx.link.requests:Requests.frames"
# A server calls this for two queries, two trainings and two evaluations.
_SETTLE = "fedmx.link.requests:Requests.settle"
_CONFIGURE = "server.collect:Collector._configure"
_AGGREGATE = "server.rounds:RoundLoop._aggregate"
# In a server that resumes, this is first called for the line of its checkpoint.
_ADD_LINE = "server.record.run:RunRecord._add_line"
# Of rounds alone: a client's rehearsal calls what is below them.
_TRAIN, _EVALUATE = "client.trainer:Trainer.train", "client.trainer:Trainer.evaluate"
_FSYNC, _RENAME = "os:fsync", "pathlib:Path.replace"

# Each server is started after the one before has died: it begins with the first round that is not on disk.
OF_SERVER = (
    Kill("after", "fedmx.link.server:LinkServer.start"),
    Kill("before", "server.agreement:_agree_on_layout"),
    # round 1: configure, send, wait, aggregate
    Kill("before", _CONFIGURE, about="train 1"),
    Kill("before", _SUBMIT, call=2),
    Kill(1, _FRAMES),
    Kill(0, _FRAMES, call=2),
    Kill("after", _SETTLE, call=3),
    Kill("before", _AGGREGATE, about="1"),
    Kill("after", "server.averaging:average", call=2),
    Kill("after", _AGGREGATE, about="1"),
    # its evaluation
    Kill("before", _SUBMIT, call=3),
    Kill(0, _FRAMES, call=2),
    Kill("after", _SETTLE, call=5),
    # its checkpoint
    Kill("before", "server.record.checkpoint:save"),
    Kill("halved", _FSYNC, about="round-0001"),
    Kill("after", _FSYNC, about="round-0001"),
    Kill("after", _RENAME, about="round-0001"),
    # round 2, and what a server does that finds its checkpoint
    Kill("after", "server.record.checkpoint:save"),
    Kill("before", _ADD_LINE),
    Kill("halved", _FSYNC, about="history.jsonl"),
    Kill("after", _ADD_LINE),
    # between rounds 3 and 4
    Kill("after", _ADD_LINE, call=2),
    # round 4
    Kill("before", _CONFIGURE, about="evaluate 4"),
    Kill("before", "server.record.checkpoint:remove_others"),
    # the end
    Kill("before", "server.record.run:RunRecord.finish"),
    Kill("halved", _FSYNC, about="model.npz"),
    Kill("after", _FSYNC, about="model.npz"),
    Kill("after", _RENAME, about="model.npz"),
    Kill("halved", _FSYNC, about="model.params"),
    Kill("after", _FSYNC, about="model.params"),
    Kill("after", _RENAME, about="model.params"),
    Kill("halved", _FSYNC, about="best.npz"),
    Kill("after", _RENAME, about="best.params"),
    Kill("halved", _FSYNC, call=4, about="run.json"),
    Kill("after", "server.record.run:RunRecord.finish"),
    Kill("before", "fedmx.protocol.control:build_goodbye"),
    Kill("after", "fedmx.link.server:LinkServer.stop"),
)

# Each client is started after the one before has died, and is asked what that one was asked last.
OF_CLIENT = (
    # loading, and asked who it is
    Kill("before", "fedmx.link.node:NodeLink.serve"),
    Kill("before", "fedmx.link.handler:call_app"),
    # training
    Kill("before", _TRAIN),
    # The first two are the rehearsal's.
    Kill(1, "client.batches:DeviceData.shuffled_batches", call=3),
    Kill("after", _TRAIN),
    # its update: begun, and half written
    Kill("after", "fedmx.link.handler:encode_reply"),
    Kill(1, "fedmx.link.reply_cache:Reply._cut", call=2),
    # evaluating
    Kill("before", _EVALUATE),
    Kill("after", _EVALUATE),
    # between rounds, and while it is sent the next request
    Kill("before", "fedmx.link.inbox:Inbox.take", call=2),
    Kill("before", "fedmx.protocol.decode:Assembler.feed", call=2),
)
