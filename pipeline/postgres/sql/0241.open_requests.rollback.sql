drop table open_requests;
