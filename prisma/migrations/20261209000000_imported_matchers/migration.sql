-- An imported file may also be an ONNX graph that matches images. Programs of the previous release do not write such rows.
ALTER TABLE "weights" DROP CONSTRAINT "weights_content_check";
ALTER TABLE "weights" ADD CONSTRAINT "weights_content_check" CHECK (content IN ('backbone', 'model', 'matcher'));
